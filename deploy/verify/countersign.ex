# Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
#
#     keys = Countersign.secret(System.fetch_env!("COUNTERSIGN_SIGNING_SECRET"))
#     {:ok, told} = Countersign.verify(method, target, headers, keys)    # or {:error, why}
#     told["x-clerk-user-id"]                                            # empty for nobody
#
# `target` is path and query as they came, nothing decoded; `headers` are pairs, two where a name came twice.
# Options, as in your settings: identity: […], all in their order, and "x-clerk-assertion" last where
# `signing.mode` has both kinds; prefix: "…"; cover: ["query"]. A header with the prefix that is not in
# the list is refused. Needs Erlang's :crypto, which comes with it. Made to be copied.

defmodule Countersign do
  # The default of `identity.headers`; those of `identity.claims` follow them.
  @identity ~w(principal token-type user-id session-id org-id org-slug org-role org-permissions actor-id)
            |> Enum.map(&("x-clerk-" <> &1))

  # The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
  def secret("base64:" <> text), do: text |> Base.decode64!() |> by_id()
  def secret(text), do: by_id(text)

  defp by_id(key) when byte_size(key) >= 32,
    do: %{(key |> mac("kid") |> binary_part(0, 4) |> Base.encode16(case: :lower)) => key}

  # Gives the identity headers, by name, or says why the request is not believed.
  def verify(method, target, headers, keys, options \\ []) do
    {identity, prefix} = {options[:identity] || @identity, options[:prefix] || "x-clerk-"}
    fold = &(&1 |> String.downcase() |> String.replace("_", "-")) # would be taken for ours further on
    values = Enum.group_by(headers, fn {name, _} -> fold.(name) end, fn {_, value} -> String.trim(value) end)
    expected = identity ++ ["@method", "@authority", "@path"] ++ Enum.map(options[:cover] || [], &"@#{&1}")
    [path | query] = String.split(target, "?", parts: 2)
    derived = %{"@method" => [method], "@path" => [path], "@query" => ["?#{query}"], "@authority" => values["host"]}
    now = System.os_time(:second)

    with {:ok, params} <- ours(values, "signature-input"),
         {:ok, signature} <- ours(values, "signature"),
         [covered, created, expires, keyid] <- parsed(params) || {:error, "the signature is not of our kind"},
         :ok <- need(covered == Enum.map_join(expected, " ", &~s("#{&1}")), "it does not cover what it must"),
         :ok <- need(keys[keyid], "no key of this id and algorithm is known"),
         timely = String.to_integer(created) <= now + 5 and String.to_integer(expires) >= now - 5,
         :ok <- need(timely, "the signature is not of this time"),
         # What is not covered anybody may have added.
         beside = Enum.find(Map.keys(values), &(String.starts_with?(&1, prefix) and &1 not in identity)),
         :ok <- need(beside == nil, "#{beside} is not signed"),
         values = Map.merge(values, derived),
         odd = Enum.find(expected, &(not match?([_], values[&1]))),
         :ok <- need(odd == nil, "#{odd} is there #{length(values[odd] || [])} times"),
         base = Enum.map_join(expected, &~s("#{&1}": #{hd(values[&1])}\n)) <> ~s("@signature-params": #{params}),
         good = ":" <> Base.encode64(mac(keys[keyid], base)) <> ":",
         same = byte_size(good) == byte_size(signature) and :crypto.hash_equals(good, signature),
         :ok <- need(same, "the signature does not hold"),
         do: {:ok, Map.new(identity, &{&1, hd(values[&1])})}
  end

  # A comma within quotes ends no member.
  defp ours(values, name) do
    members = Regex.scan(~r/(?:[^,"]++|"(?:[^"\\]|\\.)*+"?)++/, Enum.join(values[name] || [], ", "))
    case for [member] <- members, "countersign=" <> found <- [String.trim(member)], do: found do
      [one] -> {:ok, one}
      found -> {:error, "our #{name} is there #{length(found)} times"}
    end
  end

  defp parsed(params), do: Regex.run(~r/\A\(([^)]*)\);created=(\d{1,15});expires=(\d{1,15})
    ;keyid="([^"]*)";alg="hmac-sha256";tag="countersign"\z/x, params, capture: :all_but_first)

  defp need(so, why), do: if(so, do: :ok, else: {:error, why})
  defp mac(key, text), do: :crypto.mac(:hmac, :sha256, key, text)
end
