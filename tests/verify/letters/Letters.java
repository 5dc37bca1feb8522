import java.util.*;

// Method, target, and names and values of headers are arguments: the JDK reads no JSON.
class Letters {
    public static void main(String... told) throws Exception {
        var headers = new HashMap<String, List<String>>();
        for (int at = 3; at < told.length; at += 2) headers.put(told[at], List.of(told[at + 1]));
        var keys = Countersign.secret(told[0]);
        try {
            new Countersign(keys, Countersign.COVERED, "x-clerk-").verify(told[1], told[2], headers);
            System.out.println("believed");
        } catch (SecurityException why) {
            System.out.println("refused");
        }
    }
}
