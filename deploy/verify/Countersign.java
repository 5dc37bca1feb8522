import static java.nio.charset.StandardCharsets.*;

import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SignatureException;
import java.util.*;
import java.util.regex.Pattern;
import java.util.stream.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
 *
 * <pre>
 * var keys = Countersign.secret(System.getenv("COUNTERSIGN_SIGNING_SECRET"));
 * var countersign = new Countersign(keys, Countersign.IDENTITY, "x-clerk-", List.of());
 * Map<String, String> told = countersign.verify(method, target, headers);    // or throws SignatureException
 * told.get("x-clerk-user-id");                                               // empty for nobody
 * </pre>
 *
 * `target` is path and query as they came, nothing decoded; `headers` has all values of each name. As in your
 * settings: all identity headers in their order, and "x-clerk-assertion" last where `signing.mode` has both kinds;
 * the prefix; "@query" where it is covered. A header with the prefix that is not in the list is refused.
 * The JDK is enough. Made to be copied.
 */
public record Countersign(Map<String, byte[]> keys, List<String> identity, String prefix, List<String> cover) {
    /** The default of `identity.headers`; those of `identity.claims` follow them. */
    public static final List<String> IDENTITY = Stream.of("principal", "token-type", "user-id", "session-id", "org-id",
        "org-slug", "org-role", "org-permissions", "actor-id").map(name -> "x-clerk-" + name).toList();
    /** Of a structured dictionary: a comma within quotes ends no member. */
    private static final Pattern MEMBER = Pattern.compile("(?:[^,\"]++|\"(?:[^\"\\\\]++|\\\\.)*+\"?)++");
    private static final Pattern PARAMS = Pattern.compile("\\(([^)]*)\\);created=([0-9]{1,15});expires=([0-9]{1,15})"
        + ";keyid=\"([^\"]*)\";alg=\"hmac-sha256\";tag=\"countersign\"");

    /** The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id. */
    public static Map<String, byte[]> secret(String text) throws GeneralSecurityException {
        var encoded = text.startsWith("base64:");
        var key = encoded ? Base64.getDecoder().decode(text.substring(7)) : text.getBytes(UTF_8);
        if (key.length < 32) throw new IllegalArgumentException("a secret has at least 32 bytes");
        return Map.of(HexFormat.of().formatHex(mac(key, "kid"), 0, 4), key);
    }

    /** Returns the identity headers, by name. */
    public Map<String, String> verify(String method, String target, Map<String, List<String>> headers)
            throws GeneralSecurityException {
        var query = target.replaceFirst("^[^?]*+\\??", "?");
        var values = new HashMap<>(Map.of("@method", List.of(method), "@query", List.of(query)));
        values.put("@path", List.of(target.replaceFirst("(?s)\\?.*", "")));
        for (var header : headers.entrySet()) { // a name with `_` would be taken for ours further on
            var name = header.getKey().toLowerCase(Locale.ROOT).replace('_', '-');
            values.merge(name, header.getValue(), (some, more) -> Stream.of(some, more).flatMap(List::stream).toList());
        }
        values.put("@authority", values.getOrDefault("host", List.of()));
        String params = ours(values, "signature-input"), signature = ours(values, "signature");
        var form = PARAMS.matcher(params);
        need(form.matches(), "the signature is not of our kind");
        var closing = Stream.concat(Stream.of("@method", "@authority", "@path"), cover.stream());
        var expected = Stream.concat(identity.stream(), closing).toList();
        need(form.group(1).equals('"' + String.join("\" \"", expected) + '"'), "it does not cover what it must");
        var key = keys.get(form.group(4));
        need(key != null, "no key of this id and algorithm is known");
        long created = Long.parseLong(form.group(2)), expires = Long.parseLong(form.group(3));
        long now = System.currentTimeMillis() / 1000;
        need(created <= now + 5 && expires >= now - 5, "the signature is not of this time");
        for (var name : values.keySet()) // what is not covered anybody may have added
            need(!name.startsWith(prefix) || identity.contains(name), name + " is not signed");
        var told = new LinkedHashMap<String, String>();
        for (var name : expected) told.put(name, only(name, values.getOrDefault(name, List.of())));
        var lines = told.entrySet().stream().map(line -> '"' + line.getKey() + "\": " + line.getValue() + "\n");
        var mac = mac(key, lines.collect(Collectors.joining()) + "\"@signature-params\": " + params);
        var good = ":" + Base64.getEncoder().encodeToString(mac) + ":";
        need(MessageDigest.isEqual(good.getBytes(), signature.getBytes()), "the signature does not hold");
        told.keySet().retainAll(identity);
        return told;
    }

    private static String ours(Map<String, List<String>> values, String name) throws SignatureException {
        var members = MEMBER.matcher(String.join(", ", values.getOrDefault(name, List.of()))).results();
        var found = members.map(member -> member.group().trim()).filter(text -> text.startsWith("countersign="));
        return only("our " + name, found.toList()).substring(12);
    }

    private static String only(String name, List<String> found) throws SignatureException {
        need(found.size() == 1, name + " is there " + found.size() + " times");
        return found.get(0);
    }

    private static void need(boolean so, String why) throws SignatureException {
        if (!so) throw new SignatureException(why);
    }

    private static byte[] mac(byte[] key, String text) throws GeneralSecurityException {
        var mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        // What was no byte holds for nothing; as Latin-1 it would be a `?`.
        return mac.doFinal(text.getBytes(text.chars().allMatch(letter -> letter < 256) ? ISO_8859_1 : UTF_16));
    }
}
