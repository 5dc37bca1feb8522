# Rack behind Countersign: env["caller"] is who calls. README.md says how to run it.

require "json"
require_relative "countersign_middleware"

Caller = Struct.new(:user, :org, :role, :permissions)

class ReadCaller
  def initialize(app)
    @app = app
  end

  def call(env)
    told = env.fetch("countersign")
    user, org, role, permissions = told.values_at(
      "x-clerk-user-id", "x-clerk-org-id", "x-clerk-org-role", "x-clerk-org-permissions"
    )
    env["caller"] = Caller.new(user, org, role, permissions.split(", ")) # empty for nobody
    @app.call(env)
  end
end

class Pages
  def call(env)
    request, caller = Rack::Request.new(env), env.fetch("caller")
    # A CORS preflight comes as from nobody, also where the route asks for a role.
    return answer(405, "text/plain", "GET or HEAD\n") unless request.get? || request.head?

    case Rack::Utils.unescape_path(request.path_info).force_encoding("UTF-8")
    when "/" then text("You are #{caller.user}, #{caller.role.empty? ? "without a role" : caller.role}.\n")
    when "/hello" then text("Hello, #{caller.user.empty? ? "nobody" : caller.user}.\n")
    # Only for whom the route in countersign.toml lets through.
    when "/admin" then text("Welcome to the office, #{caller.user}.\n")
    when %r{\A/api/notes/([^/]+)\z}
      may_share = caller.permissions.include?("org:teams:read")
      json(title: $1, tag: request.params["tag"], reader: caller.user, may_share: may_share)
    else answer(404, "text/plain", "no such page\n")
    end
  end

  private

  def text(words) = answer(200, "text/plain; charset=utf-8", words)
  def json(value) = answer(200, "application/json", JSON.generate(value))
  def answer(status, type, body) = [status, { "content-type" => type }, [body]]
end

use Countersign::Guard, keys: Countersign.secret(ENV.fetch("COUNTERSIGN_SIGNING_SECRET"))
use ReadCaller
run Pages.new
