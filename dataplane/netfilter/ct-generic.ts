/** Any other protocol (nf_conntrack_proto_generic.c): by its addresses alone. */
import { CT_OK, type CtProto, extend } from "./ct-proto.ts";

export const genericProto: CtProto = {
  name: "unknown",
  headerLen: 0,
  tupleLen: 0,
  ports: () => 0,
  invert: () => 0,
  begins: () => true,
  packet(conn, _dir, _skb, clock, t) {
    extend(conn, clock, t.generic);
    return CT_OK;
  },
};
