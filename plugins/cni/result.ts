/**
 * Results between versions of the specification. Inside there is one form, that of 1.1.0.
 *
 *     0.3.1, 0.4.0   ips[].version "4" or "6"
 *     1.0.0          without it
 *     1.1.0          interfaces[].mtu, socketPath, pciID; routes[].mtu, advmss, priority, table, scope
 *
 * Left out: 0.1.0 and 0.2.0 with their ip4 and ip6.
 */
import { type Cidr, parseCidr, parseIp } from "../../ipam/ip.ts";
import { badField, Fields, isObject } from "./fields.ts";
import type { Dns, Interface, IpConfig, Json, JsonObject, Result, Route } from "./types.ts";
import { atLeast } from "./version.ts";

/** Copies the keys that have a value. */
function given<T extends object>(value: { readonly [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;
}

const MAX_INT = 0xffff_ffff;

export function parseDns(fields: Fields | undefined): Dns {
  if (fields === undefined) return {};
  const list = (key: string): readonly string[] | undefined =>
    fields.raw(key) === undefined ? undefined : fields.texts(key);
  return given<Dns>({
    nameservers: list("nameservers"),
    domain: fields.text("domain"),
    search: list("search"),
    options: list("options"),
  } as { readonly [K in keyof Dns]: Dns[K] | undefined });
}

export function parseRoute(fields: Fields): Route {
  const dst = fields.text("dst");
  const prefix = dst === undefined ? undefined : parseCidr(dst);
  if (dst === undefined || prefix === undefined) throw fields.bad("dst", "a prefix such as 0.0.0.0/0");
  const gw = fields.text("gw");
  if (gw !== undefined && gw !== "" && parseIp(gw)?.family !== prefix.ip.family) {
    throw fields.bad("gw", `an IPv${prefix.ip.family} address`);
  }
  return given<Route>({
    dst,
    gw: gw === "" ? undefined : gw,
    mtu: fields.int("mtu", 0, MAX_INT),
    advmss: fields.int("advmss", 0, MAX_INT),
    priority: fields.int("priority", 0, MAX_INT),
    table: fields.int("table", 0, MAX_INT),
    scope: fields.int("scope", 0, 255),
  } as { readonly [K in keyof Route]: Route[K] | undefined });
}

function parseInterface(fields: Fields): Interface {
  const text = (key: string): string | undefined => fields.text(key) || undefined;
  return given<Interface>({
    name: fields.needText("name", "the name of an interface"),
    mac: text("mac"),
    mtu: fields.int("mtu", 0, MAX_INT) || undefined,
    sandbox: text("sandbox"),
    socketPath: text("socketPath"),
    pciID: text("pciID"),
  } as { readonly [K in keyof Interface]: Interface[K] | undefined });
}

function parseIpConfig(fields: Fields, interfaces: number): IpConfig {
  const address = fields.text("address");
  if (address === undefined || parseCidr(address) === undefined)
    throw fields.bad("address", "an address with its prefix length");
  const gateway = fields.text("gateway");
  if (gateway !== undefined && gateway !== "" && parseIp(gateway) === undefined)
    throw fields.bad("gateway", "an address");
  return given<IpConfig>({
    address,
    gateway: gateway === "" ? undefined : gateway,
    interface: interfaces === 0 ? fields.int("interface", 0, MAX_INT) : fields.int("interface", 0, interfaces - 1),
  } as { readonly [K in keyof IpConfig]: IpConfig[K] | undefined });
}

/** Reads a result of any version we speak: what a version lacks is absent, what it has more is understood. */
export function parseResult(value: Json, path: string): Result {
  if (!isObject(value)) throw badField(path, value, "a result object");
  const fields = new Fields(value, path);
  const interfaces = fields.objects("interfaces").map(parseInterface);
  return {
    interfaces,
    ips: fields.objects("ips").map((ip) => parseIpConfig(ip, interfaces.length)),
    routes: fields.objects("routes").map(parseRoute),
    dns: parseDns(fields.object("dns")),
  };
}

/** The family of an address with its prefix, "4" or "6". */
function familyOf(address: string): string {
  const cidr: Cidr | undefined = parseCidr(address);
  return String(cidr?.ip.family ?? 4);
}

/** The result in exactly the asked version. Empty lists are left out, as the reference does. */
export function formatResult(result: Result, cniVersion: string): JsonObject {
  const v11 = atLeast(cniVersion, "1.1.0");
  const v10 = atLeast(cniVersion, "1.0.0");
  const out: { [key: string]: Json } = { cniVersion };
  if (result.interfaces.length > 0) {
    out.interfaces = result.interfaces.map(({ name, mac, sandbox, mtu, socketPath, pciID }) =>
      given<JsonObject>(v11 ? { name, mac, mtu, sandbox, socketPath, pciID } : { name, mac, sandbox }),
    );
  }
  if (result.ips.length > 0) {
    out.ips = result.ips.map((ip) =>
      given<JsonObject>({
        version: v10 ? undefined : familyOf(ip.address),
        interface: ip.interface,
        address: ip.address,
        gateway: ip.gateway,
      }),
    );
  }
  if (result.routes.length > 0) {
    out.routes = result.routes.map(({ dst, gw, mtu, advmss, priority, table, scope }) =>
      given<JsonObject>(v11 ? { dst, gw, mtu, advmss, priority, table, scope } : { dst, gw }),
    );
  }
  out.dns = given<JsonObject>({
    nameservers: result.dns.nameservers as Json | undefined,
    domain: result.dns.domain,
    search: result.dns.search as Json | undefined,
    options: result.dns.options as Json | undefined,
  });
  return out;
}
