/**
 * The sysctls that the stack reads, with the kernel's defaults, and those that it only stores; Documentation/networking/
 * ip-sysctl.rst is the reference. Keys are dotted; a dot inside a device name is written as `/`. One default is another:
 * addr_gen_mode is 1, so that interfaces have no link-local address of IPv6 unless they are given one.
 *
 * The packet path reads the decoded fields, never the map.
 */

const DEFAULTS: Readonly<Record<string, string>> = {
  "net.ipv4.ip_forward": "0",
  "net.ipv4.ip_default_ttl": "64",
  "net.ipv4.ip_local_port_range": "32768\t60999",
  "net.ipv4.icmp_echo_ignore_all": "0",
  "net.ipv4.conf.all.rp_filter": "0",
  "net.ipv4.conf.default.rp_filter": "0",
  "net.ipv4.conf.all.route_localnet": "0",
  "net.ipv4.conf.all.send_redirects": "1",
  "net.ipv4.conf.all.arp_ignore": "0",
  "net.ipv4.conf.all.arp_announce": "0",
  "net.ipv4.conf.all.proxy_arp": "0",
  "net.ipv6.conf.all.forwarding": "0",
  "net.ipv6.conf.default.forwarding": "0",
  "net.ipv6.conf.all.disable_ipv6": "0",
  "net.ipv6.conf.default.disable_ipv6": "0",
  "net.ipv6.conf.all.hop_limit": "64",
  "net.ipv6.icmp.ratelimit": "1000",
  "net.ipv4.vs.conntrack": "0",
  "net.ipv4.vs.conn_reuse_mode": "1",
  "net.ipv4.vs.expire_nodest_conn": "0",
  "net.ipv4.vs.expire_quiescent_template": "0",
  "net.bridge.bridge-nf-call-iptables": "1",
  "net.bridge.bridge-nf-call-ip6tables": "1",
  "net.bridge.bridge-nf-call-arptables": "1",
  "net.netfilter.nf_conntrack_max": "262144",
  "net.netfilter.nf_conntrack_checksum": "1",
  "net.netfilter.nf_conntrack_tcp_be_liberal": "0",
  "net.netfilter.nf_conntrack_tcp_timeout_established": "432000",
  "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "60",
  "net.netfilter.nf_conntrack_tcp_timeout_time_wait": "120",
  "net.netfilter.nf_conntrack_tcp_timeout_syn_sent": "120",
  "net.netfilter.nf_conntrack_udp_timeout": "30",
  "net.netfilter.nf_conntrack_udp_timeout_stream": "120",
  "net.netfilter.nf_conntrack_icmp_timeout": "30",
  "net.netfilter.nf_conntrack_generic_timeout": "600",
};

/** Per-interface keys that Linux offers for every interface. */
const PER_DEVICE =
  /^net\.ipv4\.(conf|neigh)\.[^.]+\.(rp_filter|route_localnet|arp_ignore|arp_announce|arp_notify|proxy_arp|proxy_delay|forwarding|accept_local|send_redirects|base_reachable_time_ms|gc_stale_time)$/;

/** The same of IPv6, with what they are until somebody says otherwise. */
const PER_DEVICE6 = /^net\.ipv6\.conf\.[^.]+\.([a-z0-9_]+)$/;
const DEFAULTS6: Readonly<Record<string, string>> = {
  accept_dad: "1",
  accept_ra: "1",
  addr_gen_mode: "1",
  autoconf: "1",
  disable_ipv6: "0",
  enhanced_dad: "1",
  forwarding: "0",
  hop_limit: "64",
  keep_addr_on_down: "0",
  proxy_ndp: "0",
};

export class Sysctls {
  readonly #values = new Map<string, string>();
  ipForward = false;
  ip6Forward = false;
  hopLimit6 = 64;
  /** Milliseconds between errors of ICMPv6 to one host. */
  icmpRatelimit6 = 1000;
  /** Whether IPv6 was ever disabled somewhere: while it was not, the path need not ask. */
  #ipv6DisabledUsed = false;
  bridgeNfCallIptables = true;
  bridgeNfCallIp6tables = true;
  defaultTtl = 64;
  icmpEchoIgnoreAll = false;
  routeLocalnetAll = false;
  sendRedirects = true;
  /** Whether any rp_filter was ever set: while none was, the path need not ask. */
  rpFilterUsed = false;
  localPortMin = 32768;
  localPortMax = 60999;
  /** Grows with each change, for readers that keep decoded copies. */
  generation = 0;

  get(key: string): string | undefined {
    const own = this.#values.get(key) ?? DEFAULTS[key];
    if (own !== undefined) return own;
    if (PER_DEVICE.test(key)) return "0";
    return DEFAULTS6[PER_DEVICE6.exec(key)?.[1] ?? ""];
  }

  /** Whether there is such a key. Others cannot be written, as a missing file in /proc/sys cannot. */
  known(key: string): boolean {
    return key in DEFAULTS || PER_DEVICE.test(key) || /^net\.(ipv4|ipv6|netfilter|bridge|core)\./.test(key);
  }

  set(key: string, value: string): void {
    const text = value.trim();
    this.#values.set(key, text);
    this.generation++;
    if (key.endsWith(".rp_filter")) this.rpFilterUsed = true;
    if (key.endsWith(".disable_ipv6")) this.#ipv6DisabledUsed = true;
    switch (key) {
      case "net.ipv6.conf.all.forwarding":
        this.ip6Forward = text !== "0";
        break;
      case "net.ipv6.conf.all.hop_limit":
      case "net.ipv6.conf.default.hop_limit":
        this.hopLimit6 = Number(text);
        break;
      case "net.ipv6.icmp.ratelimit":
        this.icmpRatelimit6 = Number(text);
        break;
      case "net.ipv4.ip_forward":
      case "net.ipv4.conf.all.forwarding":
        this.#values.set("net.ipv4.ip_forward", text);
        this.ipForward = text !== "0";
        break;
      case "net.bridge.bridge-nf-call-iptables":
        this.bridgeNfCallIptables = text !== "0";
        break;
      case "net.bridge.bridge-nf-call-ip6tables":
        this.bridgeNfCallIp6tables = text !== "0";
        break;
      case "net.ipv4.ip_default_ttl":
        this.defaultTtl = Number(text);
        break;
      case "net.ipv4.conf.all.send_redirects":
        this.sendRedirects = text !== "0";
        break;
      case "net.ipv4.icmp_echo_ignore_all":
        this.icmpEchoIgnoreAll = text !== "0";
        break;
      case "net.ipv4.conf.all.route_localnet":
        this.routeLocalnetAll = text !== "0";
        break;
      case "net.ipv4.ip_local_port_range": {
        const [min, max] = text.split(/\s+/).map(Number);
        if (min !== undefined && max !== undefined) {
          this.localPortMin = min;
          this.localPortMax = max;
        }
        break;
      }
    }
  }

  /** A per-interface integer: the larger of `all` and the interface's own, as IN_DEV_MAXCONF. */
  maxConf(name: string, device: string): number {
    const all = Number(this.get(`net.ipv4.conf.all.${name}`) ?? 0);
    const own = Number(
      this.#values.get(`net.ipv4.conf.${device.replaceAll(".", "/")}.${name}`) ??
        this.#values.get(`net.ipv4.conf.default.${name}`) ??
        0,
    );
    return Math.max(all, own);
  }

  ipv6Disabled(device: string): boolean {
    if (!this.#ipv6DisabledUsed) return false;
    const own = this.#values.get(`net.ipv6.conf.${device.replaceAll(".", "/")}.disable_ipv6`);
    return (
      (own ?? this.#values.get("net.ipv6.conf.all.disable_ipv6") ?? this.get("net.ipv6.conf.default.disable_ipv6")) !==
      "0"
    );
  }

  /** A per-interface setting of IPv6. */
  conf6(name: string, device: string): string {
    const key = `net.ipv6.conf.${device.replaceAll(".", "/")}.${name}`;
    return this.#values.get(key) ?? this.#values.get(`net.ipv6.conf.default.${name}`) ?? DEFAULTS6[name] ?? "0";
  }

  /** Keys that were set, for a dump. */
  entries(): IterableIterator<[string, string]> {
    return this.#values.entries();
  }
}
