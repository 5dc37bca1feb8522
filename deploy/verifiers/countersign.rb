# frozen_string_literal: true

# Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
#
#   use Countersign, keys: Countersign.secret(ENV.fetch("COUNTERSIGN_SIGNING_SECRET"))   # in config.ru
#   config.middleware.insert_before 0, Countersign, keys: …                              # in Rails
#   env["countersign"]["x-clerk-user-id"]
#
# Options, as in your settings: identity: […], all in their order, and "x-clerk-assertion" last where
# `signing.mode` has both kinds; prefix: "…"; cover: ["query"]. A header with the prefix that is not in
# the list is refused. Ruby's standard library is enough. Made to be copied.

require "openssl"
require "uri"

class Countersign
  # The default of `identity.headers`; those of `identity.claims` follow them.
  IDENTITY = %w[
    principal token-type user-id session-id org-id org-slug org-role org-permissions actor-id
  ].map { |name| "x-clerk-#{name}" }.freeze
  # Of a structured dictionary: a comma within quotes ends no member.
  MEMBER = /(?:[^,"]|"(?:[^"\\]|\\.)*")+/
  PARAMS = /\A\(("[^"]+"(?:\ "[^"]+")*)\);created=([0-9]{1,15});expires=([0-9]{1,15})
            ;keyid="([^"]*)";alg="([^"]*)";tag="countersign"\z/x
  DECODED = "this server does not hand the path on as it came, and only that is signed: use Puma or Unicorn"
  # What stands before the 32 bytes of an Ed25519 public key in DER (RFC 8410).
  SPKI = ["302a300506032b6570032100"].pack("H*").freeze

  class Refused < StandardError; end

  # The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
  def self.secret(text)
    key = text.start_with?("base64:") ? text.delete_prefix("base64:").unpack1("m0") : text.b
    check = lambda do |base, given|
      given.bytesize == 32 && OpenSSL.fixed_length_secure_compare(given, OpenSSL::HMAC.digest("SHA256", key, base))
    end
    { OpenSSL::HMAC.hexdigest("SHA256", key, "kid")[0, 8] => ["hmac-sha256", check] }
  end

  # The keys of a key set, as the admin listener has it at /.well-known/jwks.json, parsed.
  def self.ed25519(jwks)
    jwks.fetch("keys").select { |jwk| jwk["crv"] == "Ed25519" }.to_h do |jwk|
      key = OpenSSL::PKey.read(SPKI + "#{jwk.fetch("x")}=".tr("-_", "+/").unpack1("m0"))
      [jwk.fetch("kid"), ["ed25519", ->(base, given) { key.verify(nil, given, base) }]]
    end
  end

  def initialize(app, keys:, identity: IDENTITY, prefix: "x-clerk-", cover: [])
    @app, @keys, @identity, @prefix, @cover = app, keys, identity, prefix, cover
  end

  def call(env)
    begin
      env["countersign"] = verify(env)
    rescue Refused => e
      return [401, { "content-type" => "text/plain" }, ["#{e.message}\n"]]
    end
    @app.call(env)
  end

  # Returns the identity headers, by name.
  def verify(env, now: Time.now.to_i)
    values = env.select { |name, _| name.start_with?("HTTP_") }
                .to_h { |name, value| [name.delete_prefix("HTTP_").downcase.tr("_", "-"), value] }
    params, signature = ours(values, "signature-input"), ours(values, "signature")
    form = PARAMS.match(params) or raise Refused, "the signature is not of our kind"
    covered, created, expires, keyid, alg = form.captures
    expected = [*@identity, "@method", "@authority", "@path", *@cover.map { |part| "@#{part}" }]
    need(covered == expected.map { |name| %("#{name}") }.join(" "), "it does not cover what it must")
    need(@keys.key?(keyid) && @keys[keyid][0] == alg, "no key of this id and algorithm is known")
    need(created.to_i <= now + 5 && expires.to_i >= now - 5, "the signature is not of this time")
    # What is not covered anybody may have added.
    beside = values.keys.select { |name| name.start_with?(@prefix) } - @identity
    need(beside.empty?, "#{beside.first} is not signed")
    # A header that came twice is one value with a comma by now, which the signature is not over.
    lines = [*@identity, "host"].to_h { |name| [name, values[name] || refuse("#{name} is there 0 times")] }
    lines.merge!("@method" => env["REQUEST_METHOD"], "@authority" => lines["host"], "@path" => path(env))
    lines["@query"] = "?#{env["QUERY_STRING"]}"
    base = expected.map { |name| %("#{name}": #{lines[name]}\n) }.join + %("@signature-params": #{params})
    need(holds?(@keys[keyid][1], base.b, signature), "the signature does not hold")
    lines.slice(*@identity)
  end

  private

  # The path as it came, which alone was signed; and it has to be the one the application goes by.
  def path(env)
    raw = env["REQUEST_URI"].to_s.split("?", 2).first.to_s
    need(raw.start_with?("/"), DECODED)
    seen = "#{env["SCRIPT_NAME"]}#{env["PATH_INFO"]}".b
    told_apart = [raw.b, URI::DEFAULT_PARSER.unescape(raw).b].none?(seen)
    need(!told_apart, "the application sees another path than the one that came")
    raw
  end

  def ours(values, name)
    members = values.fetch(name, "").scan(MEMBER).map(&:strip).select { |member| member.start_with?("countersign=") }
    need(members.size == 1, "our #{name} is there #{members.size} times")
    members.first.delete_prefix("countersign=")
  end

  def holds?(check, base, signature)
    check.call(base, signature[/\A:(.*):\z/, 1].to_s.unpack1("m0"))
  rescue ArgumentError, OpenSSL::PKey::PKeyError
    false
  end

  def need(held, why)
    refuse(why) unless held
  end

  def refuse(why)
    raise Refused, why
  end
end
