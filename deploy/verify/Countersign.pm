package Countersign;

# Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
#
#   my $told = Countersign::verify($env, Countersign::secret($ENV{COUNTERSIGN_SIGNING_SECRET}));   # PSGI; or dies
#   $told->{'x-clerk-user-id'};                                                                    # empty for nobody
#
# Options, as in your settings: identity => [...], all in their order, and 'x-clerk-assertion' last where
# `signing.mode` has both kinds; prefix => '...'; cover => ['query']. A header with the prefix that is not in
# the list is refused. Perl's own modules are enough. Made to be copied.

use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64 hmac_sha256_hex);
use List::Util qw(first);
use MIME::Base64 qw(decode_base64);

# The default of `identity.headers`; those of `identity.claims` follow them.
our @IDENTITY = map { "x-clerk-$_" }
    qw(principal token-type user-id session-id org-id org-slug org-role org-permissions actor-id);

# The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
sub secret {
    my ($text) = @_;
    my $key = $text =~ s/\Abase64:// ? decode_base64($text) : $text;
    die "a secret has at least 32 bytes\n" if length $key < 32;
    return { substr(hmac_sha256_hex('kid', $key), 0, 8) => $key };
}

# Returns the identity headers, by name. What came twice is one value with a comma in a PSGI environment.
sub verify {
    my ($env, $keys, %options) = (shift, shift, identity => \@IDENTITY, prefix => 'x-clerk-', cover => [], @_);
    my ($need, @identity) = (sub { $_[0] or die "$_[1]\n" }, @{ $options{identity} });
    my %values = map { (lc(substr $_, 5) =~ tr/_/-/r, $env->{$_} =~ s/\A\s+|\s+\z//gr) } grep { /\AHTTP_/ } keys %$env;
    my ($input, $signature) = map { ours($need, \%values, $_) } 'signature-input', 'signature';
    my ($covered, $created, $expires, $keyid) = $input =~ m/\A\(([^)]*)\);created=([0-9]{1,15});expires=([0-9]{1,15})
        ;keyid="([^"]*)";alg="hmac-sha256";tag="countersign"\z/x;
    $need->(defined $covered, 'the signature is not of our kind');
    my @expected = (@identity, '@method', '@authority', '@path', map { "\@$_" } @{ $options{cover} });
    $need->($covered eq join(' ', map { qq("$_") } @expected), 'it does not cover what it must');
    $need->(exists $keys->{$keyid}, 'no key of this id and algorithm is known');
    $need->($created <= time + 5 && $expires >= time - 5, 'the signature is not of this time');
    my %told = map { ($_ => $values{$_}) } @identity;
    my $beside = first { index($_, $options{prefix}) == 0 && !exists $told{$_} } keys %values;
    $need->(!defined $beside, ($beside // '') . ' is not signed');    # what is not covered anybody may have added
    $need->(defined $values{$_}, "$_ is there 0 times") for @identity, 'host';
    my ($path, $query) = split /\?/, $env->{REQUEST_URI}, 2;
    my $seen = ($env->{SCRIPT_NAME} // '') . $env->{PATH_INFO};
    my $same = $path =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ger eq $seen;
    $need->($same, 'the application sees another path than the one that came');
    my %lines = (%told, '@method' => $env->{REQUEST_METHOD}, '@authority' => $values{host}, '@path' => $path);
    $lines{'@query'} = '?' . ($query // '');
    my $base = join '', map({ qq("$_": $lines{$_}\n) } @expected), qq("\@signature-params": $input);
    my $good = ':' . hmac_sha256_base64($base, $keys->{$keyid}) . '=:';
    # Compared under a MAC, which leaves the time it takes telling nothing.
    my ($is, $should) = map { hmac_sha256_base64($_, $keys->{$keyid}) } $signature, $good;
    $need->($is eq $should, 'the signature does not hold');
    return \%told;
}

sub ours {
    my ($need, $values, $name) = @_;
    # A comma within quotes ends no member.
    my @members = ($values->{$name} // '') =~ m/((?:[^,"]++|"(?:[^"\\]|\\.)*+"?)++)/g;
    my @found = grep { s/\A\s*countersign=// && s/\s*\z// } @members;
    $need->(@found == 1, "our $name is there " . @found . ' times');
    return $found[0];
}

1;
