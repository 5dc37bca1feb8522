# frozen_string_literal: true

# The keys of a proxy that has no shared secret: Countersign.ed25519(json) of what its admin listener has at
# /.well-known/jwks.json, parsed, instead of Countersign.secret(…). Ruby's standard library is enough.

require "openssl"

module Countersign
  # What stands before the 32 bytes of an Ed25519 public key in DER (RFC 8410).
  SPKI = ["302a300506032b6570032100"].pack("H*").freeze

  def self.ed25519(jwks)
    jwks.fetch("keys").select { |jwk| jwk["crv"] == "Ed25519" }.to_h do |jwk|
      key = OpenSSL::PKey.read(SPKI + "#{jwk.fetch("x")}=".tr("-_", "+/").unpack1("m0"))
      check = lambda do |base, given|
        key.verify(nil, given, base)
      rescue OpenSSL::PKey::PKeyError
        false
      end
      [jwk.fetch("kid"), ["ed25519", check]]
    end
  end
end
