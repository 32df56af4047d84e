# Runs inside a network namespace. Prints every frame that passes any of its interfaces, in order, and sends what it is told.
#   out: "frame DEVICE in|out HEX" per frame, "sent" after each "send", "error TEXT"
#   in:  "send DEVICE HEX"; the end of input ends it
# Node.js has no packet sockets; perl is part of every Debian. Numbers are those of <linux/if_packet.h> and <linux/sockios.h>.
use strict;
use warnings;
use Socket;

my ($AF_PACKET, $ETH_P_ALL, $PACKET_OUTGOING) = (17, 3, 4);
my ($SIOCGIFNAME, $SIOCGIFINDEX) = (0x8910, 0x8933);
$| = 1;

socket(my $tap, $AF_PACKET, SOCK_RAW, unpack("S", pack("n", $ETH_P_ALL))) or die "error packet socket: $!\n";
setsockopt($tap, SOL_SOCKET, 33, pack("i", 8 << 20));    # SO_RCVBUFFORCE
socket(my $port, $AF_PACKET, SOCK_RAW, 0) or die "error packet socket: $!\n";
print "ready\n";

my %names;
my $pending = "";
while (1) {
    my $ready = "";
    vec($ready, fileno(STDIN), 1) = 1;
    vec($ready, fileno($tap), 1) = 1;
    next if select($ready, undef, undef, undef) < 0;
    if (vec($ready, fileno($tap), 1)) {
        my $from = recv($tap, my $bytes, 65536, 0);
        if (defined $from) {
            my (undef, undef, $ifindex, undef, $type) = unpack("S n i S C", $from);
            $names{$ifindex} //= name($ifindex);
            printf "frame %s %s %s\n", $names{$ifindex}, $type == $PACKET_OUTGOING ? "out" : "in", unpack("H*", $bytes);
        }
    }
    if (vec($ready, fileno(STDIN), 1)) {
        my $n = sysread(STDIN, $pending, 65536, length $pending);
        exit 0 if !$n;
        while ($pending =~ s/^(.*)\n//) { command($1) }
    }
}

sub name {
    my $request = pack("a16 i a20", "", $_[0], "");
    ioctl($port, $SIOCGIFNAME, $request) or return "if$_[0]";
    return unpack("Z16", $request);
}

sub command {
    my (undef, $dev, $hex) = split / /, $_[0];
    my $request = pack("a16 a24", $dev, "");
    ioctl($port, $SIOCGIFINDEX, $request) or return print "error $dev: $!\n";
    my $bytes = pack("H*", $hex);
    my $to = pack("S n i S C C a8", $AF_PACKET, unpack("n", substr($bytes, 12, 2)), unpack("i", substr($request, 16, 4)), 1, 0, 6, substr($bytes, 0, 6));
    defined send($port, $bytes, 0, $to) or return print "error $dev: $!\n";
    print "sent\n";
}
