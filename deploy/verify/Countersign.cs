// Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
//
//   var secret = Environment.GetEnvironmentVariable("COUNTERSIGN_SIGNING_SECRET");
//   var keys = Countersign.Secret(secret);
//   var told = Countersign.Verify(method, target, headers, keys, Countersign.Covered, "x-clerk-");
//   told["x-clerk-user-id"]    // empty for nobody; a SecurityException where it is not believed
//
// `target` is path and query as they came, nothing decoded; `headers` are pairs, two where a name
// came twice. Then as in your settings: all that is covered, in its order, and the prefix. A header
// with the prefix that is not covered is refused. .NET alone is enough. Made to be copied.

using System;
using System.Collections.Generic;
using System.Linq;
using System.Security;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using static System.Convert;
using static System.Security.Cryptography.CryptographicOperations;
using Keys = System.Collections.Generic.Dictionary<string, byte[]>;
using Pair = System.Collections.Generic.KeyValuePair<string, string>;
using Told = System.Collections.Generic.Dictionary<string, string>;

public static class Countersign
{
    // The default. Those of `identity.claims` go before "@method", behind them "x-clerk-assertion"
    // where `signing.mode` has both kinds; "@query" goes last where `signing.cover` has it.
    public static readonly string[] Covered = ("x-clerk-principal x-clerk-token-type " +
        "x-clerk-user-id x-clerk-session-id x-clerk-org-id x-clerk-org-slug x-clerk-org-role " +
        "x-clerk-org-permissions x-clerk-actor-id @method @authority @path").Split(' ');

    // The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
    public static Keys Secret(string text)
    {
        var encoded = text.StartsWith("base64:", StringComparison.Ordinal);
        var key = encoded ? FromBase64String(text.Substring(7)) : Encoding.UTF8.GetBytes(text);
        if (key.Length < 32) throw new ArgumentException("a secret has at least 32 bytes");
        return new Keys { [string.Concat(Mac(key, "kid").Take(4).Select(b => $"{b:x2}"))] = key };
    }

    // Returns the identity headers, by name.
    public static Told Verify(string method, string target, IEnumerable<Pair> headers, Keys keys,
        string[] covered, string prefix)
    {
        // A name with `_` would be taken for ours further on.
        var sent = headers.ToLookup(h => h.Key.ToLowerInvariant().Replace('_', '-'), h => h.Value);
        var lines = new Told { ["@method"] = method, ["@authority"] = Only("host", sent["host"]),
            ["@path"] = target.Split('?')[0], ["@query"] = Regex.Replace(target, @"^[^?]*\??", "?")
        };
        foreach (var name in covered.Except(lines.Keys)) lines[name] = Only(name, sent[name]);
        string input = Ours(sent["signature-input"]), signature = Ours(sent["signature"]);
        var form = Regex.Match(input, @"\A\(""([^)]*)""\);created=([0-9]{1,15});expires=" +
            @"([0-9]{1,15});keyid=""([^""]*)"";alg=""hmac-sha256"";tag=""countersign""\z").Groups;
        Need(form[0].Success, "the signature is not of our kind");
        Need(form[1].Value == string.Join("\" \"", covered), "it does not cover what it must");
        Need(keys.TryGetValue(form[4].Value, out var key), "no key of this id is known");
        long created = long.Parse(form[2].Value), expires = long.Parse(form[3].Value);
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        Need(created <= now + 5 && expires >= now - 5, "the signature is not of this time");
        foreach (var name in sent.Select(one => one.Key).Except(covered)) // anybody may have added
            Need(!name.StartsWith(prefix, StringComparison.Ordinal), name + " is not signed");
        var text = string.Concat(covered.Select(name => $"\"{name}\": {lines[name]}\n"));
        var good = ":" + ToBase64String(Mac(key, text + "\"@signature-params\": " + input)) + ":";
        Need(FixedTimeEquals(Bytes(good), Bytes(signature)), "the signature does not hold");
        return covered.Where(name => name[0] != '@').ToDictionary(name => name, one => lines[one]);
    }

    // Of a structured dictionary: a comma within quotes ends no member. Two of ours hold as none.
    static string Ours(IEnumerable<string> all) => string.Join(",", from Match one in Regex.Matches(
        string.Join(",", all), @"\s*(countersign=)?((?:[^,""]|""(?:[^""\\]|\\.)*""?)*)")
        where one.Groups[1].Success select one.Groups[2].Value.Trim());

    static string Only(string name, IEnumerable<string> all) => all.Count() == 1 ?
        all.First().Trim() : throw new SecurityException($"{name} is there {all.Count()} times");

    static void Need(bool so, string why) { if (!so) throw new SecurityException(why); }

    static byte[] Mac(byte[] key, string text) => new HMACSHA256(key).ComputeHash(Bytes(text));

    // What was no byte is a NUL, which holds for nothing.
    static byte[] Bytes(string text) => text.Select(c => (byte)(c < 256 ? c : 0)).ToArray();
}
