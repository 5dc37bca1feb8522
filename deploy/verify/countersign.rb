# frozen_string_literal: true

# Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
#
#   told = Countersign.verify(method, target, headers, Countersign.secret(ENV.fetch("COUNTERSIGN_SIGNING_SECRET")))
#   told["x-clerk-user-id"]   # empty for nobody; where it does not hold, Countersign::Refused is raised
#
# `target` is path and query as they came, nothing decoded; `headers` are pairs, two where a name came twice.
# Options, as in your settings: identity: […], all in their order, and "x-clerk-assertion" last where
# `signing.mode` has both kinds; prefix: "…"; cover: ["query"]. A header with the prefix that is not in
# the list is refused. Ruby's standard library is enough. Made to be copied.

require "openssl"

module Countersign
  # The default of `identity.headers`; those of `identity.claims` follow them.
  IDENTITY = %w[principal token-type user-id session-id org-id org-slug org-role org-permissions actor-id]
             .map { |name| "x-clerk-#{name}" }.freeze
  # Of a structured dictionary: a comma within quotes ends no member.
  MEMBER = /(?:[^,"]|"(?:[^"\\]|\\.)*"?)+/
  PARAMS = /\A\(([^)]*)\);created=(\d{1,15});expires=(\d{1,15});keyid="([^"]*)";alg="([^"]*)";tag="countersign"\z/

  class Refused < StandardError; end

  # The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
  def self.secret(text)
    key = text.start_with?("base64:") ? text.delete_prefix("base64:").unpack1("m0") : text.b
    raise ArgumentError, "a secret has at least 32 bytes" if key.bytesize < 32
    mac = ->(base) { OpenSSL::HMAC.digest("SHA256", key, base) }
    check = ->(base, given) { given.bytesize == 32 && OpenSSL.fixed_length_secure_compare(given, mac.(base)) }
    { mac.("kid").unpack1("H8") => ["hmac-sha256", check] }
  end

  # Returns the identity headers, by name.
  def self.verify(method, target, headers, keys, identity: IDENTITY, prefix: "x-clerk-", cover: [], now: Time.now.to_i)
    # A name with `_` would be taken for ours further on.
    values = headers.map { |name, value| [name.b.downcase.tr("_", "-"), value.b.strip] }.group_by(&:first)
    values = values.transform_values { |pairs| pairs.map(&:last) }
    need = ->(so, why) { so or raise Refused, why }
    only = lambda do |name, found = values.fetch(name, [])|
      need.(found.size == 1, "#{name} is there #{found.size} times") && found.first
    end
    ours = lambda do |name|
      members = values.fetch(name, []).join(", ").scan(MEMBER).map(&:strip)
      only.("our #{name}", members.select { |text| text.start_with?("countersign=") }).delete_prefix("countersign=")
    end
    params, signature = ours.("signature-input"), ours.("signature")
    covered, created, expires, keyid, alg = need.(PARAMS.match(params), "the signature is not of our kind").captures
    expected = [*identity, "@method", "@authority", "@path", *cover.map { |part| "@#{part}" }]
    need.(covered == expected.map { |name| %("#{name}") }.join(" "), "it does not cover what it must")
    need.((key = keys[keyid]) && key[0] == alg, "no key of this id and algorithm is known")
    need.(created.to_i <= now + 5 && expires.to_i >= now - 5, "the signature is not of this time")
    # What is not covered anybody may have added.
    beside = values.keys.find { |name| name.start_with?(prefix) && !identity.include?(name) }
    need.(beside.nil?, "#{beside} is not signed")
    told, (path, _, query) = identity.to_h { |name| [name, only.(name)] }, target.b.partition("?")
    lines = told.merge("@method" => method, "@authority" => only.("host"), "@path" => path, "@query" => "?#{query}")
    base = expected.map { |name| %("#{name}": ).b << lines[name].b << "\n" }.join + %("@signature-params": #{params})
    given = signature[%r{\A:([A-Za-z0-9+/]+={0,2}):\z}, 1].to_s
    need.(key[1].(base, given.unpack1("m")), "the signature does not hold")
    told
  end
end
