import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;

class App {
    public static void main(String... none) throws Exception {
        var keys = Countersign.secret(System.getenv("COUNTERSIGN_SIGNING_SECRET"));
        var cover = System.getenv("COVER").isEmpty() ? "" : " @" + System.getenv("COVER");
        var covered = System.getenv("IDENTITY") + " @method @authority @path" + cover;
        var countersign = new Countersign(keys, List.of(covered.split(" ")), "x-clerk-");
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
            } catch (SecurityException why) {
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
