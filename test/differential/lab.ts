/** A place to send packets in and watch every interface: the emulator's, or one made of the kernel's namespaces. */
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import type { Place } from "./layout.ts";

export type Frame = { readonly direction: "in" | "out"; readonly bytes: Uint8Array };

/** Frames of each interface in the order in which they passed, by "place/device". */
export type Frames = ReadonlyMap<string, readonly Frame[]>;

export interface Lab {
  /** Changes the layout of a node. */
  apply(node: "node-1" | "node-2", ops: readonly RtnlOp[]): Promise<void>;
  /** Puts a frame on an interface as a packet socket does. */
  send(place: Place, frame: Uint8Array, dev?: string): Promise<void>;
  /** Lets this many milliseconds pass, and whatever is on its way arrive. */
  wait(ms: number): Promise<void>;
  /** Binds a UDP socket; `echo` answers every datagram with its own octets. */
  udpBind(place: Place, port: number, echo: boolean): Promise<void>;
  /** Sends text from a bound socket. */
  udpSend(place: Place, port: number, to: string, toPort: number, text: string): Promise<void>;
  /** Listens; each connection is answered once something has come, with `response`, and closed. */
  tcpServe(place: Place, port: number, response: string): Promise<void>;
  /** Connects from a port, sends, reads to the end; answers what came, or the errno name. */
  tcpRequest(place: Place, port: number, to: string, toPort: number, request: string): Promise<string>;
  frames(): Frames;
  close(): Promise<void>;
}
