# Plays cases by the client of Debian's ruby-grpc, as it stands there, one after another in one
# process; its options, with --test_case NAME,NAME,... last. It lacks one case, which is added here.
# A line for each case; 0 if all passed.

load ENV.fetch('RUBY_INTEROP_CLIENT')

# The client's own, opened again.
class NamedTests
  def special_status_message
    message = "\t\ntest with whitespace\r\nand Unicode BMP \u263A and non-BMP \u{1F608}\t\n"
    status = EchoStatus.new(code: GRPC::Core::StatusCodes::UNKNOWN, message: message)
    begin
      @stub.unary_call(SimpleRequest.new(response_status: status))
    rescue GRPC::Unknown => e
      assert("message #{e.details.inspect}") { e.details.dup.force_encoding('UTF-8') == message }
      return
    end
    fail AssertionError, 'no error'
  end
end

GRPC.logger.level = Logger::ERROR
names = ARGV.pop.split(',')
arguments = ARGV.dup
failed = 0
names.each do |name|
  ARGV.replace(arguments + [name])
  begin
    main
    puts "ok   #{name}"
  rescue StandardError => e
    puts "FAIL #{name}: #{e.class}: #{e.message}"
    failed += 1
  end
end
exit(failed.zero? ? 0 : 1)
