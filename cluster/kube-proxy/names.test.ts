import { expect, it } from "vitest";
import { endpointChain, formatServicePortName, serviceChains } from "./names.ts";

it("gives a service port the chain names that kube-proxy gives it", () => {
  expect(serviceChains("ns1/svc1:p80", "TCP")).toEqual({
    svc: "KUBE-SVC-XPGD46QRK7WJZT7O",
    svl: "KUBE-SVL-XPGD46QRK7WJZT7O",
    ext: "KUBE-EXT-XPGD46QRK7WJZT7O",
    fw: "KUBE-FW-XPGD46QRK7WJZT7O",
  });
  expect(serviceChains("default/kubernetes:https", "TCP").svc).toBe("KUBE-SVC-NPX46M4PTMTKRN6Y");
  expect(serviceChains("kube-system/kube-dns:dns", "UDP").svc).toBe("KUBE-SVC-TCOU7JCQXEZGVUNU");
});

it("gives an endpoint the chain name that kube-proxy gives it", () => {
  expect(endpointChain("ns1/svc1:p80", "TCP", "10.180.0.1:80")).toBe("KUBE-SEP-SXIVWICOYRO3J4NJ");
});

it("leaves the colon out where a port has no name", () => {
  expect(formatServicePortName({ namespace: "a", name: "b", port: "" })).toBe("a/b");
  expect(formatServicePortName({ namespace: "a", name: "b", port: "p" })).toBe("a/b:p");
});
