# Ruby, as any Rack server calls it.

require_relative "../../../deploy/verify/countersign"

if ENV.key?("JWKS_URL")
  require_relative "../../../deploy/verify/countersign_ed25519"
  KEYS = Countersign.ed25519(ENV.fetch("JWKS_URL"))
else
  KEYS = Countersign.secret(ENV.fetch("COUNTERSIGN_SIGNING_SECRET"))
end
OPTIONS = { identity: ENV.fetch("IDENTITY").split, cover: ENV.fetch("COVER").split }

run(lambda do |env|
  headers = env.filter_map { |name, value| [name.delete_prefix("HTTP_"), value] if name.start_with?("HTTP_") }
  told = Countersign.verify(env["REQUEST_METHOD"], env["REQUEST_URI"], headers, KEYS, **OPTIONS)
  [200, {}, told.map { |name, value| "#{name}: #{value}\n" }]
rescue Countersign::Refused => e
  [401, {}, [e.message]]
end)
