import static java.nio.charset.StandardCharsets.*;
import static java.security.MessageDigest.isEqual;
import static java.util.Base64.*;
import static java.util.Locale.ROOT;
import static java.util.stream.Collectors.*;

import java.security.GeneralSecurityException;
import java.util.*;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
 *
 * <pre>
 * var keys = Countersign.secret(System.getenv("COUNTERSIGN_SIGNING_SECRET"));
 * var countersign = new Countersign(keys, Countersign.COVERED, "x-clerk-");
 * var told = countersign.verify(method, target, headers); // or throws SecurityException
 * told.get("x-clerk-user-id");                            // empty for nobody
 * </pre>
 *
 * `target` is path and query as they came, nothing decoded; `headers` has all values of each name.
 * As in your settings: all that is covered, in its order, and the prefix. A header with the prefix
 * that is not covered is refused. The JDK is enough. Made to be copied.
 */
public record Countersign(Map<String, byte[]> keys, List<String> covered, String prefix) {
    /**
     * The default. Those of `identity.claims` go before "@method", behind them "x-clerk-assertion"
     * where `signing.mode` has both kinds; "@query" goes last where `signing.cover` has it.
     */
    public static final List<String> COVERED = List.of(("x-clerk-principal x-clerk-token-type "
        + "x-clerk-user-id x-clerk-session-id x-clerk-org-id x-clerk-org-slug x-clerk-org-role "
        + "x-clerk-org-permissions x-clerk-actor-id @method @authority @path").split(" "));
    private static final Pattern PARAMS = Pattern.compile("\\(\"([^)]*)\"\\);created=([0-9]{1,15});"
        + "expires=([0-9]{1,15});keyid=\"([^\"]*)\";alg=\"hmac-sha256\";tag=\"countersign\"");

    /** The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id. */
    public static Map<String, byte[]> secret(String text) throws GeneralSecurityException {
        var encoded = text.startsWith("base64:");
        var key = encoded ? getDecoder().decode(text.substring(7)) : text.getBytes(UTF_8);
        if (key.length < 32) throw new IllegalArgumentException("a secret has at least 32 bytes");
        return Map.of(HexFormat.of().formatHex(mac(key, "kid"), 0, 4), key);
    }

    /** Returns the identity headers, by name. */
    public Map<String, String> verify(String method, String target,
            Map<String, List<String>> headers) throws GeneralSecurityException {
        var lines = new HashMap<String, String>();
        // A name with `_` would be taken for ours further on. Nothing that was signed has a NUL: what
        // is there twice, or is not there, holds for nothing.
        headers.forEach((name, values) -> lines.merge(name.toLowerCase(ROOT).replace('_', '-'),
            String.join("\0", values), (some, more) -> some + "\0" + more));
        lines.putAll(Map.of("@method", method, "@authority", lines.getOrDefault("host", "\0"),
            "@path", target.split("\\?", 2)[0], "@query", target.replaceFirst("^[^?]*+\\??", "?")));
        var form = PARAMS.matcher(ours(lines, "signature-input"));
        need(form.matches(), "the signature is not of our kind");
        need(form.group(1).equals(String.join("\" \"", covered)), "it does not cover what it must");
        need(keys.containsKey(form.group(4)), "no key of this id is known");
        long now = System.currentTimeMillis() / 1000, created = Long.parseLong(form.group(2));
        need(created <= now + 5 && now - 5 <= Long.parseLong(form.group(3)), "not of this time");
        for (var name : lines.keySet()) // what is not covered anybody may have added
            need(!name.startsWith(prefix) || covered.contains(name), name + " is not signed");
        var text = covered.stream().map(n -> '"' + n + "\": " + lines.getOrDefault(n, "\0") + "\n")
            .collect(joining("", "", "\"@signature-params\": " + form.group()));
        var good = ":" + getEncoder().encodeToString(mac(keys.get(form.group(4)), text)) + ":";
        need(isEqual(good.getBytes(), ours(lines, "signature").getBytes()), "it does not hold");
        return covered.stream().filter(n -> n.charAt(0) != '@').collect(toMap(n -> n, lines::get));
    }

    /** Of a structured dictionary: a comma within quotes ends no member. Two hold as none. */
    private static String ours(Map<String, String> lines, String name) {
        return Pattern.compile("\\s*(countersign=)?((?:[^,\"]++|\"(?:[^\"\\\\]++|\\\\.)*+\"?)*+)")
            .matcher(lines.getOrDefault(name, "").replace('\0', ',')).results()
            .filter(m -> m.group(1) != null).map(m -> m.group(2).trim()).collect(joining(","));
    }

    private static void need(boolean so, String why) { if (!so) throw new SecurityException(why); }

    private static byte[] mac(byte[] key, String text) throws GeneralSecurityException {
        var mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        // What was no byte is a NUL too; as Latin-1 it would be a `?`.
        return mac.doFinal(text.replaceAll("[^\\x00-\\xff]", "\0").getBytes(ISO_8859_1));
    }
}
