# frozen_string_literal: true

# Stands before an application and believes only what Countersign signed. Beside countersign.rb; made to be copied.
#
#   use Countersign::Guard, keys: Countersign.secret(ENV.fetch("COUNTERSIGN_SIGNING_SECRET"))   # in config.ru
#   config.middleware.insert_before 0, Countersign::Guard, keys: …                              # in Rails
#   env["countersign"]["x-clerk-user-id"]
#
# The options of `verify` go behind the keys.

require "uri"
require_relative "countersign"

module Countersign
  class Guard
    DECODED = "this server does not hand the path on as it came, and only that is signed: use Puma or Unicorn"

    def initialize(app, keys:, **options)
      @app, @keys, @options = app, keys, options
    end

    def call(env)
      begin
        env["countersign"] = told(env)
      rescue Refused => e
        return [401, { "content-type" => "text/plain" }, ["#{e.message}\n"]]
      end
      @app.call(env)
    end

    private

    # A header that came twice is one value with a comma by now, which the signature is not over.
    def told(env)
      headers = env.filter_map { |name, value| [name.delete_prefix("HTTP_"), value] if name.start_with?("HTTP_") }
      target = "#{path(env)}?#{env["QUERY_STRING"]}"
      Countersign.verify(env["REQUEST_METHOD"], target, headers, @keys, **@options)
    end

    # The path as it came, which alone was signed; and it has to be the one the application goes by.
    def path(env)
      raw = env["REQUEST_URI"].to_s.split("?", 2).first.to_s
      raise Refused, DECODED unless raw.start_with?("/")

      seen = "#{env["SCRIPT_NAME"]}#{env["PATH_INFO"]}".b
      told_apart = [raw.b, URI::DEFAULT_PARSER.unescape(raw).b].none?(seen)
      raise Refused, "the application sees another path than the one that came" if told_apart

      raw
    end
  end
end
