// Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
//
//   var secret = Environment.GetEnvironmentVariable("COUNTERSIGN_SIGNING_SECRET");
//   var countersign = new Countersign(Countersign.Secret(secret));
//   var told = countersign.Verify(method, target, headers);    // or throws Countersign.Refused
//   told["x-clerk-user-id"]                                    // empty for nobody
//
// `target` is path and query as they came, nothing decoded; `headers` are pairs, two where a name came twice.
// As in your settings: `Identity`, all in their order, and "x-clerk-assertion" last where `signing.mode` has both
// kinds; `Prefix`; `Cover`, as "@query". A header with the prefix that is not in the list is refused.
// .NET alone is enough. Made to be copied.

using System;
using System.Collections.Generic;
using System.Linq;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Pair = System.Collections.Generic.KeyValuePair<string, string>;

public sealed class Countersign
{
    // The default of `identity.headers`; those of `identity.claims` follow them.
    public string[] Identity = ("principal token-type user-id session-id org-id org-slug org-role org-permissions " +
        "actor-id").Split(' ').Select(name => "x-clerk-" + name).ToArray();
    public string[] Cover = { };
    public string Prefix = "x-clerk-";
    readonly Dictionary<string, byte[]> keys;
    // Of a structured dictionary: a comma within quotes ends no member.
    static readonly Regex Member = new Regex(@"(?:[^,""]|""(?:[^""\\]|\\.)*""?)+");
    static readonly Regex Params = new Regex(@"\A\(([^)]*)\);created=([0-9]{1,15});expires=([0-9]{1,15})" +
        @";keyid=""([^""]*)"";alg=""hmac-sha256"";tag=""countersign""\z");

    public sealed class Refused : Exception { public Refused(string why) : base(why) { } }

    public Countersign(Dictionary<string, byte[]> keys) { this.keys = keys; }

    // The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
    public static Dictionary<string, byte[]> Secret(string text)
    {
        var encoded = text.StartsWith("base64:", StringComparison.Ordinal);
        var key = encoded ? Convert.FromBase64String(text.Substring(7)) : Encoding.UTF8.GetBytes(text);
        if (key.Length < 32) throw new ArgumentException("a secret has at least 32 bytes");
        var id = BitConverter.ToString(Mac(key, "kid"), 0, 4).Replace("-", "").ToLowerInvariant();
        return new Dictionary<string, byte[]> { [id] = key };
    }

    // Returns the identity headers, by name.
    public Dictionary<string, string> Verify(string method, string target, IEnumerable<Pair> headers)
    {
        // A name with `_` would be taken for ours further on.
        var values = headers.ToLookup(one => one.Key.ToLowerInvariant().Replace('_', '-'), one => one.Value.Trim());
        string input = Ours(values, "signature-input"), signature = Ours(values, "signature");
        var form = Params.Match(input).Groups;
        Need(form[0].Success, "the signature is not of our kind");
        var expected = Identity.Concat(new[] { "@method", "@authority", "@path" }).Concat(Cover).ToList();
        Need(form[1].Value == "\"" + string.Join("\" \"", expected) + "\"", "it does not cover what it must");
        Need(keys.TryGetValue(form[4].Value, out var key), "no key of this id and algorithm is known");
        long created = long.Parse(form[2].Value), expires = long.Parse(form[3].Value);
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        Need(created <= now + 5 && expires >= now - 5, "the signature is not of this time");
        var added = values.Select(group => group.Key).Where(name => name.StartsWith(Prefix, StringComparison.Ordinal));
        foreach (var name in added.Except(Identity)) Need(false, name + " is not signed"); // anybody may have done that
        var told = Identity.ToDictionary(name => name, name => Only(name, values[name]));
        var parts = target.Split(new[] { '?' }, 2);
        var lines = new Dictionary<string, string>(told) { ["@method"] = method, ["@path"] = parts[0] };
        lines["@authority"] = Only("host", values["host"]);
        lines["@query"] = "?" + parts.ElementAtOrDefault(1);
        var text = string.Concat(expected.Select(name => "\"" + name + "\": " + lines[name] + "\n"));
        var good = ":" + Convert.ToBase64String(Mac(key, text + "\"@signature-params\": " + input)) + ":";
        Need(CryptographicOperations.FixedTimeEquals(Bytes(good), Bytes(signature)), "the signature does not hold");
        return told;
    }

    static string Ours(ILookup<string, string> values, string name)
    {
        var members = Member.Matches(string.Join(", ", values[name])).Cast<Match>().Select(one => one.Value.Trim());
        var found = members.Where(text => text.StartsWith("countersign=", StringComparison.Ordinal));
        return Only("our " + name, found).Substring(12);
    }

    static string Only(string name, IEnumerable<string> found)
    {
        Need(found.Count() == 1, name + " is there " + found.Count() + " times");
        return found.Single();
    }

    static void Need(bool so, string why) { if (!so) throw new Refused(why); }

    static byte[] Mac(byte[] key, string text) => new HMACSHA256(key).ComputeHash(Bytes(text));

    // What was no byte holds for nothing; as Latin-1 it would be a `?`.
    static byte[] Bytes(string text) => Encoding.GetEncoding(text.All(c => c < 256) ? 28591 : 1200).GetBytes(text);
}
