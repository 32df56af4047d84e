/** Where the compiled CNI executable starts. It leaves at once: nothing is open that would have to be flushed. */
import { main } from "./cni-plugin.ts";

type Leaving = { readonly reallyExit: (code: number) => never };

void main().then((code) => (process as unknown as Leaving).reallyExit(code));
