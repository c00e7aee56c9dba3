import java.security.KeyStore;
import java.util.stream.IntStream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/** Compiled and run in the packed runtime: computes on several threads, and loads what TLS trusts. */
public class Hello {
    record Square(int of) {
        long value() { return (long) of * of; }
    }

    public static void main(String[] args) throws Exception {
        long sum = IntStream.rangeClosed(1, 1000).parallel().mapToObj(Square::new).mapToLong(Square::value).sum();
        if (sum != 333_833_500L) throw new AssertionError("sum " + sum);
        var virtual = Thread.ofVirtual().start(() -> System.out.println("hello from " + Thread.currentThread()));
        virtual.join();
        var factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init((KeyStore) null);
        int trusted = ((X509TrustManager) factory.getTrustManagers()[0]).getAcceptedIssuers().length;
        if (trusted < 100) throw new AssertionError(trusted + " certificates");
        SSLContext.getDefault().createSSLEngine().getSupportedProtocols();
        System.out.println(trusted + " certificates are trusted");
    }
}
