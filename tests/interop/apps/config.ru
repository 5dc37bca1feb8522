# Says what the verifier told it, behind any Rack server, with VERIFIER as in python_app.py.

require "json"
require_relative "../../../deploy/verify/countersign_ed25519"
require_relative "../../../deploy/verify/countersign_middleware"

about = JSON.parse(File.read(ENV.fetch("VERIFIER")))
keys = about.key?("secret") ? Countersign.secret(about["secret"]) : Countersign.ed25519(about["jwks_url"])
# As a middleware before ours might: the application would go by a path that nobody signed.
use(Class.new do
  def initialize(app)
    @app = app
  end

  def call(env)
    env["PATH_INFO"] = env["HTTP_REWRITE_TO"] if env.key?("HTTP_REWRITE_TO")
    @app.call(env)
  end
end)
use Countersign::Guard, keys: keys, **about["options"].transform_keys(&:to_sym)

run(lambda do |env|
  headers = env.select { |name, _| name.start_with?("HTTP_") }
               .map { |name, value| [name.delete_prefix("HTTP_").downcase.tr("_", "-"), value] }
  path = URI::DEFAULT_PARSER.unescape(env["PATH_INFO"]).force_encoding("UTF-8")
  method, query = env.values_at("REQUEST_METHOD", "QUERY_STRING")
  seen = { told: env["countersign"], method: method, path: path, query: query, headers: headers }
  [200, { "content-type" => "application/json" }, [JSON.generate(seen)]]
end)
