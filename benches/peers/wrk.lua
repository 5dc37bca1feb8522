-- wrk's side of a row: what it sends, from the environment, and what came of it, as one line of JSON.

local body, tokens = tonumber(os.getenv("BODY") or 0), os.getenv("TOKENS")

if body > 0 then
  wrk.method, wrk.body = "POST", string.rep("x", body)
end

-- Each token once: made into requests before the clock starts, and no more requests than tokens.
if tokens then
  local requests, at = {}, 0

  function init()
    for token in io.lines(tokens) do
      wrk.headers["Authorization"] = "Bearer " .. token
      requests[#requests + 1] = wrk.format()
    end
  end

  function request()
    at = at + 1
    if at > #requests then
      wrk.thread:stop()
      return ""
    end
    return requests[at]
  end
end

function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format(
    '{"requests": %d, "seconds": %f, "refused": %d, "broken": %d, "p50_us": %d, "p99_us": %d}',
    summary.requests, summary.duration / 1e6, errors.status, broken,
    latency:percentile(50), latency:percentile(99)))
end
