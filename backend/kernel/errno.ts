/** Errno values by name (asm-generic/errno-base.h, asm-generic/errno.h), as far as netlink and namespaces return them. */
import { NetlinkError, type RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";

const NAMES: ReadonlyMap<number, string> = new Map([
  [1, "EPERM"],
  [2, "ENOENT"],
  [3, "ESRCH"],
  [4, "EINTR"],
  [5, "EIO"],
  [6, "ENXIO"],
  [9, "EBADF"],
  [11, "EAGAIN"],
  [12, "ENOMEM"],
  [13, "EACCES"],
  [14, "EFAULT"],
  [16, "EBUSY"],
  [17, "EEXIST"],
  [19, "ENODEV"],
  [20, "ENOTDIR"],
  [21, "EISDIR"],
  [22, "EINVAL"],
  [23, "ENFILE"],
  [24, "EMFILE"],
  [28, "ENOSPC"],
  [30, "EROFS"],
  [34, "ERANGE"],
  [36, "ENAMETOOLONG"],
  [38, "ENOSYS"],
  [40, "ELOOP"],
  [90, "EMSGSIZE"],
  [92, "ENOPROTOOPT"],
  [93, "EPROTONOSUPPORT"],
  [95, "EOPNOTSUPP"],
  [97, "EAFNOSUPPORT"],
  [98, "EADDRINUSE"],
  [99, "EADDRNOTAVAIL"],
  [100, "ENETDOWN"],
  [101, "ENETUNREACH"],
  [105, "ENOBUFS"],
  [107, "ENOTCONN"],
  [113, "EHOSTUNREACH"],
]);

export const EINTR = 4;

export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}

/** A failure of the kernel in the words of the operations. */
export function kernelError(errno: number, what: string, failed: RtnlOp | null = null): NetlinkError {
  const name = errnoName(errno);
  return new NetlinkError(name, `${what}: ${name}`, failed);
}
