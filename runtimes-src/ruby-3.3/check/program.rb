# Run in the packed runtime: the standard library's native parts, threads, TLS's certificates.
require "bigdecimal"
require "digest"
require "json"
require "openssl"
require "psych"
require "socket"
require "zlib"

sum = (1..1000).each_slice(100).map { |part| Thread.new { part.sum { |it| it * it } } }.sum(&:value)
raise "sum #{sum}" unless sum == 333_833_500
raise "digest" unless Digest::SHA256.hexdigest("hello").start_with?("2cf24dba")
raise "zlib" unless Zlib.gunzip(Zlib.gzip("hello")) == "hello"
raise "json" unless JSON.parse('{"a":[1,2]}') == { "a" => [1, 2] }
raise "yaml" unless Psych.load("a: [1, 2]") == { "a" => [1, 2] }
raise "decimal" unless BigDecimal("0.1") + BigDecimal("0.2") == BigDecimal("0.3")

server = TCPServer.new("127.0.0.1", 0)
Thread.new { server.accept.tap { |peer| peer << "served" }.close }
raise "socket" unless TCPSocket.new("127.0.0.1", server.addr[1]).read == "served"

certificates = File.read(OpenSSL::X509::DEFAULT_CERT_FILE).scan("BEGIN CERTIFICATE").size
raise "#{certificates} certificates" unless certificates > 100
OpenSSL::SSL::SSLContext.new.set_params(verify_mode: OpenSSL::SSL::VERIFY_PEER)
puts "ruby #{RUBY_VERSION}, #{certificates} certificates"
