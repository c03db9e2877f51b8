/* Loaded into the processes of a run before the C library: see guard.py.
 *
 * What a process listens on is bound to this machine's loopback address, whatever it asked for,
 * and a connection is accepted only if the socket at its other end belongs to the same user. The
 * frameworks' own servers know neither: TensorFlow's binds 0.0.0.0, and none has a password.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const int distlab_guard = 1; /* by which guard.py sees that this is loaded */

/* 127.0.0.1 as IPv6 writes it (RFC 4291, 2.5.5.2): a socket of either family can be bound to it. */
static const struct in6_addr LOOPBACK = {{{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}}};

/* A row may be passed over while others come and go: proc(5), /proc/net/tcp. */
enum { LOOKS = 3 };

struct end {
    struct in6_addr address;
    unsigned port;
};

/* An end of a connection over TCP; 0 if it is none. */
static int tcp(const struct sockaddr_storage *from, struct end *to) {
    const struct sockaddr_in *four = (const void *)from;
    const struct sockaddr_in6 *six = (const void *)from;
    to->address = LOOPBACK;
    if (from->ss_family == AF_INET) {
        memcpy(to->address.s6_addr + 12, &four->sin_addr, 4);
        to->port = ntohs(four->sin_port);
    } else if (from->ss_family == AF_INET6) {
        to->address = six->sin6_addr;
        to->port = ntohs(six->sin6_port);
    }
    return from->ss_family == AF_INET || from->ss_family == AF_INET6;
}

/* An address as /proc/net/tcp and tcp6 write it: words of the host's order, one or four. */
static int parse(const char *digits, struct in6_addr *to) {
    int words = strlen(digits) / 8;
    *to = LOOPBACK;
    for (int i = 0; i < words; i++) {
        unsigned word;
        if (sscanf(digits + 8 * i, "%8x", &word) != 1) return 0;
        memcpy(to->s6_addr + 16 - 4 * (words - i), &word, 4);
    }
    return words == 1 || words == 4;
}

/* Whether the socket at `there`, connected to `here`, is one of this user's. */
static int own(const char *table, const struct end *there, const struct end *here, int orphans) {
    FILE *rows = fopen(table, "re");
    char line[512], local[33], remote[33];
    int found = 0;
    if (!rows) return 0;
    while (!found && fgets(line, sizeof line, rows)) {
        unsigned from, to, state, user;
        unsigned long inode;
        struct in6_addr a, b;
        if (sscanf(line, "%*s %32[^:]:%x %32[^:]:%x %x %*s %*s %*s %u %*s %lu", local, &from,
                   remote, &to, &state, &user, &inode) != 7)
            continue;
        if (from != there->port || to != here->port) continue;
        if (!parse(local, &a) || !parse(remote, &b)) continue;
        if (memcmp(&a, &there->address, sizeof a) || memcmp(&b, &here->address, sizeof b)) continue;
        /* Of a socket that its process has closed the table tells no user (but 0), and no inode. */
        found = inode ? user == geteuid() : orphans;
    }
    fclose(rows);
    return found;
}

static int welcome(int fd, int orphans) {
    struct sockaddr_storage peer, name;
    socklen_t peer_size = sizeof peer, name_size = sizeof name;
    struct end there, here;
    if (getpeername(fd, (void *)&peer, &peer_size)) return 0;
    if (getsockname(fd, (void *)&name, &name_size)) return 0;
    if (!tcp(&peer, &there) || !tcp(&name, &here)) return 1;
    for (int look = 0; look < LOOKS; look++)
        if (own("/proc/net/tcp", &there, &here, orphans) ||
            own("/proc/net/tcp6", &there, &here, orphans))
            return 1;
    return 0;
}

static int accept_own(int fd, struct sockaddr *address, socklen_t *size, int flags, void *caller) {
    int (*real)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
    socklen_t room = size ? *size : 0;
    Dl_info library;
    /* NCCL's ranks hang up once they have said where they are, and show a secret of their own. */
    int orphans = dladdr(caller, &library) && strstr(library.dli_fname, "libnccl");
    for (;;) {
        if (size) *size = room;
        int accepted = real(fd, address, size, flags);
        if (accepted < 0 || welcome(accepted, orphans)) return accepted;
        close(accepted);
    }
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
    return accept_own(fd, address, size, flags, __builtin_return_address(0));
}

int accept(int fd, struct sockaddr *address, socklen_t *size) {
    return accept_own(fd, address, size, 0, __builtin_return_address(0));
}

int bind(int fd, const struct sockaddr *address, socklen_t size) {
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    int type = 0;
    socklen_t type_size = sizeof type;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    if (!address || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) || type != SOCK_STREAM)
        return real(fd, address, size);
    if (address->sa_family == AF_INET && size >= sizeof four) {
        memcpy(&four, address, sizeof four);
        memcpy(&four.sin_addr, LOOPBACK.s6_addr + 12, 4);
        return real(fd, (void *)&four, sizeof four);
    }
    if (address->sa_family == AF_INET6 && size >= sizeof six) {
        int alone = 0; /* a socket for IPv6 alone has a loopback address of its own */
        socklen_t alone_size = sizeof alone;
        getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &alone, &alone_size);
        memcpy(&six, address, sizeof six);
        alone |= IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
        six.sin6_addr = alone ? in6addr_loopback : LOOPBACK;
        return real(fd, (void *)&six, sizeof six);
    }
    return real(fd, address, size);
}
