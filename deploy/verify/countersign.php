<?php
// Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
//
//   $told = Countersign::verify($_SERVER, Countersign::secret(getenv('COUNTERSIGN_SIGNING_SECRET')));   // or throws
//   $told['x-clerk-user-id']                                                                           // '' for nobody
//
// Options, as in your settings: identity: […], all in their order, and 'x-clerk-assertion' last where
// `signing.mode` has both kinds; prefix: '…'; cover: ['query']. A header with the prefix that is not in
// the list is refused. PHP alone is enough. Made to be copied.

final class Countersign
{
    // The default of `identity.headers`; those of `identity.claims` follow them.
    const IDENTITY = ['x-clerk-principal', 'x-clerk-token-type', 'x-clerk-user-id', 'x-clerk-session-id',
        'x-clerk-org-id', 'x-clerk-org-slug', 'x-clerk-org-role', 'x-clerk-org-permissions', 'x-clerk-actor-id'];
    const MEMBER = '/(?:[^,"]++|"(?:[^"\\\\]|\\\\.)*+"?)++/'; // of a dictionary: a comma within quotes ends none
    const PARAMS = '/\A\(([^)]*)\);created=(\d{1,15});expires=(\d{1,15});keyid="([^"]*)";alg="hmac-sha256"'
        . ';tag="countersign"\z/';

    // The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
    static function secret(string $text): array
    {
        $key = str_starts_with($text, 'base64:') ? base64_decode(substr($text, 7), true) : $text;
        if (strlen($key) < 32) throw new LengthException('a secret has at least 32 bytes');
        return [substr(hash_hmac('sha256', 'kid', $key), 0, 8) => $key];
    }

    // Returns the identity headers, by name. In $server, which is $_SERVER, what came twice is one value with a comma.
    static function verify($server, $keys, $identity = self::IDENTITY, $prefix = 'x-clerk-', $cover = []): array
    {
        $need = fn($so, $why) => $so ?: throw new UnexpectedValueException($why);
        $values = [];
        foreach ($server as $name => $value)
            if (str_starts_with($name, 'HTTP_')) $values[strtr(strtolower(substr($name, 5)), '_', '-')] = trim($value);
        $ours = function ($name) use ($need, $values) {
            preg_match_all(self::MEMBER, $values[$name] ?? '', $members);
            $found = array_values(preg_grep('/\Acountersign=/', array_map('trim', $members[0])));
            $need(count($found) === 1, "our $name is there " . count($found) . ' times');
            return substr($found[0], 12);
        };
        [$params, $signature] = [$ours('signature-input'), $ours('signature')];
        $need(preg_match(self::PARAMS, $params, $form), 'the signature is not of our kind');
        [, $covered, $created, $expires, $keyid] = $form;
        $expected = [...$identity, '@method', '@authority', '@path', ...array_map(fn($part) => "@$part", $cover)];
        $need($covered === '"' . implode('" "', $expected) . '"', 'it does not cover what it must');
        $need(isset($keys[$keyid]), 'no key of this id and algorithm is known');
        $need($created <= time() + 5 && $expires >= time() - 5, 'the signature is not of this time');
        foreach ($values as $name => $_) // what is not covered anybody may have added
            $need(!str_starts_with($name, $prefix) || in_array($name, $identity, true), "$name is not signed");
        foreach ([...$identity, 'host'] as $name) $need(isset($values[$name]), "$name is there 0 times");
        [$path, $query] = [...explode('?', $server['REQUEST_URI'], 2), '']; // as they came
        $derived = ['@method' => $server['REQUEST_METHOD'], '@authority' => $values['host']];
        $derived += ['@path' => $path, '@query' => "?$query"];
        $lines = array_map(fn($name) => "\"$name\": " . ($derived[$name] ?? $values[$name]) . "\n", $expected);
        $base = implode($lines) . "\"@signature-params\": $params";
        $mac = base64_encode(hash_hmac('sha256', $base, $keys[$keyid], true));
        $need(hash_equals(":$mac:", $signature), 'the signature does not hold');
        return array_intersect_key($values, array_flip($identity));
    }
}
