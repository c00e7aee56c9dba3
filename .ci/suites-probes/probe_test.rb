# What programs in Ruby ask their host.
require "minitest/autorun"
require "etc"
require "fileutils"
require "socket"
require "tmpdir"

class Probe < Minitest::Test
  def test_login = assert(Etc.getlogin || Etc.getpwuid.name)
  def test_home = assert(File.writable?(Dir.home))
  def test_processors = assert_operator(Etc.nprocessors, :>=, 1)
  def test_host_name = assert(Addrinfo.getaddrinfo(Socket.gethostname, nil).any?)
  def test_child = assert_equal("#{$$}\n", `echo $PPID`)
  def test_fork = assert_equal(3, (Process.wait(fork { exit!(3) }); $?.exitstatus))

  def test_signal
    seen = Queue.new
    old = trap("USR1") { seen << 1 }
    Process.kill("USR1", $$)
    assert_equal(1, seen.pop(timeout: 10))
  ensure
    trap("USR1", old || "DEFAULT")
  end

  def test_daemon_child_is_reaped
    pid = spawn("sh", "-c", "sleep 0.1 & exit 0")
    Process.wait(pid)
    sleep 0.5
    assert_empty(Dir.glob("/proc/[0-9]*/stat").select { |it| File.read(it)[/\) Z /] rescue nil })
  end

  def test_sockets
    server = TCPServer.new("127.0.0.1", 0)
    client = TCPSocket.new("127.0.0.1", server.addr[1])
    client.write("x")
    assert_equal("x", server.accept.readpartial(1))
    UNIXServer.open("/tmp/ruby-socket") { |it| assert(UNIXSocket.new(it.path)) }
  end

  %w[/tmp /var/tmp /work /dev/shm].each do |at|
    define_method("test_files_in_#{at}") do
      Dir.mktmpdir("probe", at) do |dir|
        FileUtils.mkdir_p("#{dir}/a/b")
        File.write("#{dir}/a/b/c", "x", perm: 0o640)
        File.rename("#{dir}/a", "#{dir}/z")
        FileUtils.cp_r("#{dir}/z", "#{dir}/y", preserve: true)
        assert_equal("x", File.read("#{dir}/y/b/c"))
        assert_equal(0o640, File.stat("#{dir}/y/b/c").mode & 0o777)
        File.open("#{dir}/lock", "w") { |it| assert_equal(0, it.flock(File::LOCK_EX | File::LOCK_NB)) }
      end
    end
  end

  def test_rename_of_the_callers_directory = File.rename("/work/sub", "/work/moved")
end
