/*
 * All that ever runs in ring 0 of the guest: stubs of 16 bytes that exit to the host, one for each
 * exception vector and one, at the end, for SYSCALL. The host learns what happened from rip alone.
 * The code is copied into a page of the guest, so it must not care where it is.
 */
#include <cet.h>
    .section .rodata
    .balign 4096
    .globl kvm_trampoline_start, kvm_trampoline_end
    .hidden kvm_trampoline_start, kvm_trampoline_end
kvm_trampoline_start:
    .rept 33
    .balign 16, 0xcc
1:  outb %al, $0x80
    jmp 1b
    .endr
    .balign 16, 0xcc
kvm_trampoline_end:
/* The vsyscall page, which old programs call by address: three system calls and three returns.
 * The rest is hlt, which ring 3 may not. */
    .balign 1024
    .globl kvm_vsyscall_start, kvm_vsyscall_end
    .hidden kvm_vsyscall_start, kvm_vsyscall_end
kvm_vsyscall_start:
    .irp number, 96, 201, 309
    mov $\number, %rax
    syscall
    ret
    .balign 1024, 0xf4
    .endr
kvm_vsyscall_end:
    .section .note.GNU-stack,"",@progbits
