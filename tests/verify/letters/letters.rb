require "json"
require_relative "../../../deploy/verify/countersign"

key, request = ARGV
method, target, headers = JSON.parse(request).values_at("method", "target", "headers")
begin
  Countersign.verify(method, target, headers, Countersign.secret(key))
  puts "believed"
rescue Countersign::Refused
  puts "refused"
end
