/** The part of the pcap-parser package that pcap.ts uses; the package itself declares no types. */
declare module "pcap-parser" {
  export type GlobalHeader = { readonly linkLayerType: number; readonly snapshotLength: number };
  export type PacketHeader = {
    readonly timestampSeconds: number;
    readonly timestampMicroseconds: number;
    readonly capturedLength: number;
    readonly originalLength: number;
  };
  export type Packet = { readonly header: PacketHeader; readonly data: Uint8Array };
  export type Parser = {
    on(event: "globalHeader", listener: (header: GlobalHeader) => void): Parser;
    on(event: "packetHeader", listener: (header: PacketHeader) => void): Parser;
    on(event: "packet", listener: (packet: Packet) => void): Parser;
    on(event: "error", listener: (error: Error) => void): Parser;
    on(event: "end", listener: () => void): Parser;
  };
  export function parse(input: NodeJS.ReadableStream): Parser;
}
