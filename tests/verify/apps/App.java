import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.security.SignatureException;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.Stream;

class App {
    public static void main(String... none) throws Exception {
        var keys = Countersign.secret(System.getenv("COUNTERSIGN_SIGNING_SECRET"));
        var identity = List.of(System.getenv("IDENTITY").split(" "));
        var parts = Stream.of(System.getenv("COVER").split(" ")).filter(part -> !part.isEmpty());
        var countersign = new Countersign(keys, identity, "x-clerk-", parts.map(part -> "@" + part).toList());
        var port = Integer.parseInt(System.getenv("PORT"));
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            var status = 200;
            String text;
            try {
                var target = exchange.getRequestURI().toString();
                var told = countersign.verify(exchange.getRequestMethod(), target, exchange.getRequestHeaders());
                var lines = told.entrySet().stream().map(one -> one.getKey() + ": " + one.getValue() + "\n");
                text = lines.collect(Collectors.joining());
            } catch (SignatureException why) {
                status = 401;
                text = why.getMessage();
            } catch (Exception broken) {
                status = 500;
                text = broken.toString();
            }
            exchange.sendResponseHeaders(status, text.getBytes().length);
            try (var body = exchange.getResponseBody()) {
                body.write(text.getBytes());
            }
        });
        server.start();
    }
}
