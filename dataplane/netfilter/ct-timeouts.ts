/** Settings of conntrack, net.netfilter.nf_conntrack_*, with the kernel's defaults, decoded. Times are milliseconds. */
import type { Sysctls } from "../netns/sysctl.ts";

export class CtTimeouts {
  /** Of the sysctls that were read last. */
  generation = -1;
  max = 262_144;
  /** Packets with a wrong checksum are INVALID. */
  checksum = true;
  liberal = false;
  loose = true;
  maxRetrans = 3;
  /** By TCP_CT_*: none, syn_sent, syn_recv, established, fin_wait, close_wait, last_ack, time_wait, close, syn_sent2. */
  readonly tcp: number[] = [];
  tcpRetrans = 300_000;
  tcpUnacknowledged = 300_000;
  udp = 30_000;
  udpStream = 120_000;
  icmp = 30_000;
  icmp6 = 30_000;
  generic = 600_000;
  /** By SCTP_CT_*: none, closed, cookie_wait, cookie_echoed, established, shutdown_sent, _recd, _ack_sent, heartbeat. */
  readonly sctp: number[] = [];

  /** Reads the sysctls, after one has changed. */
  refresh(sysctls: Sysctls): void {
    this.generation = sysctls.generation;
    const num = (name: string, fallback: number): number => {
      const n = Number(sysctls.get(`net.netfilter.nf_conntrack_${name}`) ?? fallback);
      return Number.isFinite(n) ? n : fallback;
    };
    const sec = (name: string, fallback: number): number => num(name, fallback) * 1000;
    this.max = num("max", 262_144);
    this.checksum = num("checksum", 1) !== 0;
    this.liberal = num("tcp_be_liberal", 0) !== 0;
    this.loose = num("tcp_loose", 1) !== 0;
    this.maxRetrans = num("tcp_max_retrans", 3);
    this.tcp.splice(
      0,
      this.tcp.length,
      0,
      sec("tcp_timeout_syn_sent", 120),
      sec("tcp_timeout_syn_recv", 60),
      sec("tcp_timeout_established", 432_000),
      sec("tcp_timeout_fin_wait", 120),
      sec("tcp_timeout_close_wait", 60),
      sec("tcp_timeout_last_ack", 30),
      sec("tcp_timeout_time_wait", 120),
      sec("tcp_timeout_close", 10),
      sec("tcp_timeout_syn_sent", 120),
    );
    this.tcpRetrans = sec("tcp_timeout_max_retrans", 300);
    this.tcpUnacknowledged = sec("tcp_timeout_unacknowledged", 300);
    this.udp = sec("udp_timeout", 30);
    this.udpStream = sec("udp_timeout_stream", 120);
    this.icmp = sec("icmp_timeout", 30);
    this.icmp6 = sec("icmpv6_timeout", 30);
    this.generic = sec("generic_timeout", 600);
    this.sctp.splice(
      0,
      this.sctp.length,
      0,
      sec("sctp_timeout_closed", 10),
      sec("sctp_timeout_cookie_wait", 3),
      sec("sctp_timeout_cookie_echoed", 3),
      sec("sctp_timeout_established", 210),
      sec("sctp_timeout_shutdown_sent", 3),
      sec("sctp_timeout_shutdown_recd", 3),
      sec("sctp_timeout_shutdown_ack_sent", 3),
      sec("sctp_timeout_heartbeat_sent", 30),
    );
  }
}
