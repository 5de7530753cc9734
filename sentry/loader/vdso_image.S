/* The vDSO, byte for byte. Page-aligned, so that what is in it is aligned as it will be mapped. */
#include <cet.h>
        .section .rodata
        .globl  vdso_image_start, vdso_image_end
        .hidden vdso_image_start, vdso_image_end
        .balign 4096
vdso_image_start:
        .incbin "vdso.so"
vdso_image_end:
        .section .note.GNU-stack, "", @progbits
