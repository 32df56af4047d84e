import { describe, expect, it } from "vitest";
import { DROP_REASON_COUNT, DropReason, dropReasonName, dropReasonOf } from "./drop-reason.ts";

describe("drop reasons", () => {
  it("print under the kernel's name", () => {
    expect(dropReasonName(DropReason.NETFILTER_DROP)).toBe("SKB_DROP_REASON_NETFILTER_DROP");
    expect(dropReasonName(0)).toBe("SKB_NOT_DROPPED_YET");
  });

  it("print our other words under the kernel's name too", () => {
    expect(dropReasonName(DropReason.TTL_EXCEEDED)).toBe("SKB_DROP_REASON_IP_INHDR");
    expect(dropReasonName(DropReason.VXLAN_NO_REMOTE)).toBe("SKB_DROP_REASON_NO_TX_TARGET");
    expect(dropReasonName(DropReason.FRAG_FAILED)).toBe("SKB_DROP_REASON_PKT_TOO_BIG");
  });

  it("are all drops, and all fit the counters", () => {
    for (const code of Object.values(DropReason)) {
      expect(code).toBeGreaterThan(1);
      expect(code).toBeLessThan(DROP_REASON_COUNT);
      expect(dropReasonOf(dropReasonName(code))).toBe(code);
    }
  });

  it("are found by name, with or without the prefix", () => {
    expect(dropReasonOf("PKT_TOO_BIG")).toBe(DropReason.PKT_TOO_BIG);
    expect(dropReasonOf("SKB_DROP_REASON_PKT_TOO_BIG")).toBe(DropReason.PKT_TOO_BIG);
    expect(dropReasonOf("toString")).toBeUndefined();
  });

  it("answers a code that nobody gave with the reason that is not specified", () => {
    expect(dropReasonName(7)).toBe("SKB_DROP_REASON_NOT_SPECIFIED");
    expect(dropReasonName(9999)).toBe("SKB_DROP_REASON_NOT_SPECIFIED");
  });
});
