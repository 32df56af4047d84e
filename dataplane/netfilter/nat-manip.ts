/** Which side of a packet is rewritten (enum nf_nat_manip_type). */
export const MANIP_SRC = 0;
export const MANIP_DST = 1;
