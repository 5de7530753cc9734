/*
 * procfs: the tables, and what their functions share. Formats are those of proc(5): ps, top, free,
 * lsof and glibc parse them.
 */
#ifndef PICKET_SENTRY_FS_PROC_PROC_H
#define PICKET_SENTRY_FS_PROC_PROC_H

#include "sentry/fs/pseudo/pseudo.h"

#define PROC_HZ 100 /* USER_HZ: clock ticks a second in stat files */

extern const struct pseudo_row proc_sys_rows[];                    /* sysctl.c: /proc/sys */
extern const struct pseudo_row proc_pid_rows[];                    /* pid.c: /proc/PID */
extern const struct pseudo_row proc_task_rows[];                   /* pid.c: /proc/PID/task/TID */
extern const struct pseudo_names proc_fd_names, proc_fdinfo_names; /* fd.c */

extern const struct pseudo_row proc_sysvipc_rows[]; /* sysvipc.c: /proc/sysvipc */

/* The process whose /proc/PID f has open (not referenced: f keeps it); NULL if f is another file.
 */
struct thread_group *proc_dir_group(const struct file *f);
/* The task that a node is about (any of the process's), referenced; NULL if it is gone. */
struct task *proc_task(struct pseudo_ctx *c);
/* A number of the first pid namespace as this proc shows it, or 0. */
pid_t proc_nr(struct pseudo_ctx *c, pid_t nr);
/* Whose ids a file shows: those of who opened it. */
const struct user_ns *proc_user_ns(struct pseudo_ctx *c);
/* Its memory, with a user; NULL if it has none. */
struct mm *proc_mm(struct pseudo_ctx *c);

/* sysvipc.c. arg: enum ipc_limit values as bytes, and PROC_IPC_END */
#define PROC_IPC_END 0xff
int proc_show_ipc_limits(struct pseudo_ctx *c, struct text *out);
int proc_store_ipc_limits(struct pseudo_ctx *c, const char *data, size_t n);
int proc_show_ipc_next_id(struct pseudo_ctx *c, struct text *out);
int proc_store_ipc_next_id(struct pseudo_ctx *c, const char *data, size_t n);
/* cpuinfo.c */
int proc_show_cpuinfo(struct pseudo_ctx *c, struct text *out);
/* system.c */
int proc_show_meminfo(struct pseudo_ctx *c, struct text *out);
int proc_show_stat(struct pseudo_ctx *c, struct text *out);
int proc_show_uptime(struct pseudo_ctx *c, struct text *out);
int proc_show_loadavg(struct pseudo_ctx *c, struct text *out);
int proc_show_version(struct pseudo_ctx *c, struct text *out);
int proc_show_vmstat(struct pseudo_ctx *c, struct text *out);
/* ns.c: /proc/PID/ns and the id maps */
extern const struct pseudo_row proc_ns_rows[];
int proc_pid_show_map(struct pseudo_ctx *c, struct text *out);
int proc_pid_store_map(struct pseudo_ctx *c, const char *data, size_t n);
int proc_pid_show_setgroups(struct pseudo_ctx *c, struct text *out);
int proc_pid_store_setgroups(struct pseudo_ctx *c, const char *data, size_t n);
/* status.c */
int proc_pid_stat(struct pseudo_ctx *c, struct text *out);
int proc_pid_status(struct pseudo_ctx *c, struct text *out);
int proc_pid_statm(struct pseudo_ctx *c, struct text *out);
int proc_pid_limits(struct pseudo_ctx *c, struct text *out);
int proc_pid_schedstat(struct pseudo_ctx *c, struct text *out);
/* maps.c */
int proc_pid_maps(struct pseudo_ctx *c, struct text *out);
int proc_pid_smaps(struct pseudo_ctx *c, struct text *out);
int proc_pid_smaps_rollup(struct pseudo_ctx *c, struct text *out);
int proc_pid_cmdline(struct pseudo_ctx *c, struct text *out);
int proc_pid_environ(struct pseudo_ctx *c, struct text *out);
int proc_pid_auxv(struct pseudo_ctx *c, struct text *out);
extern const struct file_ops proc_mem_fops;
/* A path as the reader sees it, appended. */
int proc_text_path(struct pseudo_ctx *c, const struct path_ref *p, struct text *out);

#endif
