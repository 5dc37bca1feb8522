use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../../../deploy/verify";
use Countersign;

my $keys = Countersign::secret($ENV{COUNTERSIGN_SIGNING_SECRET});
my %options = (identity => [split ' ', $ENV{IDENTITY}], cover => [split ' ', $ENV{COVER}]);

sub {
    my ($env) = @_;
    my $told = eval { Countersign::verify($env, $keys, %options) };
    return [401, [], [$@]] unless $told;
    return [200, [], [map { "$_: $told->{$_}\n" } sort keys %$told]];
};
