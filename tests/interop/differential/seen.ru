# Writes what it saw of each request to the file SEEN, behind Puma.

require "digest"
require "json"

SEEN = File.open(ENV.fetch("SEEN"), "a").tap { |file| file.sync = true }

run(lambda do |env|
  body = env["rack.input"].read
  method, target = env.values_at("REQUEST_METHOD", "REQUEST_URI")
  length = env["CONTENT_LENGTH"]
  told = {
    method: method, target: target, host: env["HTTP_HOST"].to_s, user: env["HTTP_X_CLERK_USER_ID"].to_s,
    length: body.bytesize, digest: Digest::SHA256.hexdigest(body)[0, 16],
    whole: length.nil? || length.to_i == body.bytesize, connection: env["puma.socket"].peeraddr[1].to_s
  }
  SEEN.write("#{JSON.generate(told.transform_values { |it| it.is_a?(String) ? it.dup.force_encoding("ISO-8859-1").encode("UTF-8") : it })}\n")
  [200, { "x-saw" => "#{method} #{target}", "content-length" => "2" }, method == "HEAD" ? [] : ["ok"]]
end)
