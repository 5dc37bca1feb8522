# frozen_string_literal: true

# The keys of a proxy that has no shared secret, instead of Countersign.secret(…):
#
#   keys = Countersign.ed25519("http://127.0.0.1:4601/.well-known/jwks.json")   # of its admin listener
#
# It asks again for a key that it does not know, as after a restart of the proxy, but no more than once in five
# seconds, whoever sends what. Ruby's standard library is enough.

require "json"
require "net/http"
require "openssl"

module Countersign
  # What stands before the 32 bytes of an Ed25519 public key in DER (RFC 8410).
  SPKI = ["302a300506032b6570032100"].pack("H*").freeze

  def self.ed25519(url, pause = 5)
    Keys.new(URI(url), pause).tap { |keys| keys[nil] }
  end

  class Keys
    def initialize(url, pause)
      @url, @pause, @keys, @next, @lock = url, pause, {}, 0, Mutex.new
    end

    # Who comes while it is asked waits for the one answer.
    def [](kid)
      @lock.synchronize { refresh unless @keys.key?(kid) || now < @next } unless @keys.key?(kid)
      @keys[kid]
    end

    private

    def refresh
      times, tls = { open_timeout: 2, read_timeout: 2 }, @url.scheme == "https"
      # Keys come by nobody's proxy.
      answer = Net::HTTP.start(@url.host, @url.port, nil, use_ssl: tls, **times) { |http| http.get(@url.request_uri) }
      @keys = parsed(JSON.parse(answer.body))
    rescue StandardError
      nil # those before serve on
    ensure
      @next = now + @pause
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    def parsed(jwks)
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
end
