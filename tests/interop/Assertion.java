// A backend that believes an assertion only when Google's OAuth client library for Java does (Debian's
// libgoogle-oauth-client-java, the one library for JWTs there; it knows RS256 and ES256).
//
//   java -cp JARS Assertion.java PORT JWKS_URL ISSUER AUDIENCE ALG

import com.google.api.client.auth.openidconnect.IdToken;
import com.google.api.client.auth.openidconnect.IdTokenVerifier;
import com.google.api.client.json.gson.GsonFactory;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

public class Assertion {
    static final long TOLERANCE = 5;

    public static void main(String[] arguments) throws Exception {
        var keys = new Keys(arguments[1], arguments[2], arguments[3]);
        var algorithm = arguments[4];
        var gson = new GsonBuilder().serializeNulls().create();
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            var assertions = exchange.getRequestHeaders().getOrDefault("x-clerk-assertion", List.of());
            var seen = new LinkedHashMap<String, Object>();
            seen.put("error", null);
            seen.put("claims", null);
            seen.put("assertions", assertions);
            var headers = new LinkedHashMap<String, String>();
            exchange.getRequestHeaders().forEach((name, values) -> headers.put(name.toLowerCase(), values.get(0)));
            seen.put("headers", headers);
            try {
                if (assertions.size() != 1) throw new IllegalArgumentException(assertions.size() + " assertions");
                seen.put("claims", keys.verify(assertions.get(0), algorithm));
            } catch (Exception refused) { // whatever is thrown, the assertion is not believed
                seen.put("error", refused.getClass().getSimpleName() + ": " + refused.getMessage());
            }
            var text = gson.toJson(seen).getBytes("UTF-8");
            exchange.getResponseHeaders().set("content-type", "application/json");
            exchange.sendResponseHeaders(seen.get("error") == null ? 200 : 401, text.length);
            exchange.getResponseBody().write(text);
            exchange.close();
        });
        server.start();
        System.out.println("listening");
    }

    // The library's verifier, and what it leaves to its caller.
    static class Keys {
        private final IdTokenVerifier.Builder settings;
        private volatile Verifier verifier;
        private volatile long made;

        Keys(String url, String issuer, String audience) {
            settings = new IdTokenVerifier.Builder()
                .setCertificatesLocation(url)
                .setIssuer(issuer)
                .setAudience(List.of(audience))
                .setAcceptableTimeSkewSeconds(TOLERANCE);
            renew();
        }

        Map<String, Object> verify(String text, String algorithm) throws Exception {
            var token = IdToken.parse(GsonFactory.getDefaultInstance(), text);
            if (!algorithm.equals(token.getHeader().getAlgorithm())) throw new SecurityException("another algorithm");
            // Not looked at by the library, which reads `iat` for it.
            var notBefore = token.getPayload().getNotBeforeTimeSeconds();
            if (notBefore == null || notBefore > System.currentTimeMillis() / 1000 + TOLERANCE) {
                throw new SecurityException("not valid yet");
            }
            if (!verifier.says(token)) {
                // It keeps a key set for an hour, whatever key is asked for. As rarely as jose.
                if (System.currentTimeMillis() - made < 30_000) throw new SecurityException(verifier.why(token));
                renew();
                if (!verifier.says(token)) throw new SecurityException(verifier.why(token));
            }
            return new LinkedHashMap<>(token.getPayload());
        }

        private synchronized void renew() {
            verifier = new Verifier(settings);
            made = System.currentTimeMillis();
        }
    }

    static class Verifier extends IdTokenVerifier {
        // Its reason for a signature is told to a logger only.
        private static final ThreadLocal<String> REASON = new ThreadLocal<>();

        static {
            var logger = Logger.getLogger(IdTokenVerifier.class.getName());
            logger.setUseParentHandlers(false);
            logger.addHandler(new Handler() {
                @Override public void publish(LogRecord record) {
                    REASON.set(record.getThrown() == null ? record.getMessage() : record.getThrown().toString());
                }
                @Override public void flush() {}
                @Override public void close() {}
            });
        }

        Verifier(IdTokenVerifier.Builder settings) {
            super(settings);
        }

        boolean says(IdToken token) {
            REASON.remove();
            return verify(token);
        }

        String why(IdToken token) {
            if (!token.verifyIssuer(getIssuers())) return "another issuer";
            if (!token.verifyAudience(getAudience())) return "another audience";
            if (!verifyPayload(token)) return "not of this time";
            return "signature: " + REASON.get();
        }
    }
}
