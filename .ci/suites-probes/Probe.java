import java.io.*;
import java.lang.management.ManagementFactory;
import java.net.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.nio.file.attribute.*;
import java.util.*;
import java.util.concurrent.*;

/** What programs in Java ask their host: each probe prints a line if it fails. */
class Probe {
    interface Body { void run() throws Exception; }

    static int failed;

    static void probe(String name, Body body) {
        try { body.run(); } catch (Throwable it) { failed++; System.out.println("FAILED " + name + ": " + it); }
    }

    static void check(boolean good, Object seen) { if (!good) throw new AssertionError(String.valueOf(seen)); }

    public static void main(String[] args) throws Exception {
        String user = System.getProperty("user.name"), home = System.getProperty("user.home");
        probe("user.name", () -> check(user != null && !user.equals("?") && !user.isEmpty(), user));
        probe("user.home", () -> check(Files.isWritable(Path.of(home)), home));
        probe("localhost", () -> check(InetAddress.getLocalHost().getHostAddress() != null, ""));
        probe("processors", () -> check(Runtime.getRuntime().availableProcessors() >= 1, ""));
        probe("memory", () -> {
            var os = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
            check(os.getTotalMemorySize() > 0 && os.getCpuLoad() >= -1, os.getTotalMemorySize());
        });
        probe("loopback", () -> {
            try (var server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
                 var client = new Socket(server.getInetAddress(), server.getLocalPort());
                 var near = server.accept()) {
                client.getOutputStream().write(7);
                check(near.getInputStream().read() == 7, "");
            }
        });
        probe("unix-socket", () -> {
            Path at = Files.createTempDirectory("s").resolve("x");
            try (var server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
                server.bind(UnixDomainSocketAddress.of(at));
                try (var client = SocketChannel.open(UnixDomainSocketAddress.of(at))) { check(client.isConnected(), ""); }
            }
        });
        probe("interfaces", () -> check(NetworkInterface.networkInterfaces().count() > 0, ""));
        probe("process", () -> {
            Process child = new ProcessBuilder("sh", "-c", "echo $PPID; exit 3").start();
            String parent = new String(child.getInputStream().readAllBytes()).trim();
            check(child.waitFor() == 3 && parent.equals("" + ProcessHandle.current().pid()), parent);
        });
        probe("kill", () -> {
            Process child = new ProcessBuilder("sleep", "100").start();
            child.destroy();
            check(child.waitFor() == 143, child.exitValue());
        });
        probe("owner", () -> check(Files.getOwner(Files.createTempFile("a", "b")).getName().equals(user), user));
        probe("lookup", () -> FileSystems.getDefault().getUserPrincipalLookupService().lookupPrincipalByName(user));
        probe("modes", () -> {
            Path file = Files.createTempFile("a", "b");
            Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwx--x---"));
            check(PosixFilePermissions.toString(Files.getPosixFilePermissions(file)).equals("rwx--x---"), "");
        });
        for (String at : List.of("/tmp", "/var/tmp", "/work", "/dev/shm")) {
            probe("files-in-" + at, () -> {
                // One place may be another's.
                String moved = "probe-of" + at.replace('/', '-');
                Path dir = Files.createDirectory(Path.of(at, "probe-java"));
                Files.writeString(dir.resolve("a"), "x");
                Files.createSymbolicLink(dir.resolve("l"), Path.of("a"));
                Files.createLink(dir.resolve("h"), dir.resolve("a"));
                Files.move(dir, Path.of(at, moved), StandardCopyOption.ATOMIC_MOVE);
                check(Files.readString(Path.of(at, moved, "l")).equals("x"), "");
                check(Files.getFileStore(Path.of(at)).getUsableSpace() > 0, "");
            });
        }
        probe("rename-of-the-callers-directory", () -> Files.move(Path.of("/work/sub"), Path.of("/work/moved")));
        probe("lock", () -> {
            try (var file = FileChannel.open(Path.of("/work/lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                check(file.tryLock() != null, "");
            }
        });
        probe("watch", () -> {
            Path dir = Files.createTempDirectory("w");
            try (var watch = dir.getFileSystem().newWatchService()) {
                dir.register(watch, StandardWatchEventKinds.ENTRY_CREATE);
                Files.writeString(dir.resolve("new"), "");
                check(watch.poll(10, TimeUnit.SECONDS) != null, "");
            }
        });
        probe("preferences", () -> java.util.prefs.Preferences.userRoot().put("a", "b"));
        probe("zone", () -> check(TimeZone.getDefault().getID() != null, ""));
        probe("attach", () -> check(ProcessHandle.current().info().command().isPresent(), ""));
        System.out.println("Result: " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
