// SPDX-License-Identifier: Apache-2.0
//
// The system as the product's code sees it in a simulated world. The executable's own definitions of these functions come before
// those of the shared libraries, for our code and for libstdc++ alike; outside of a fiber they do what the real ones do, where
// that is asked for at all. So the modules under test are those that ship (in their lab build), without a line of their own for
// it: their threads, locks, condition variables, futexes, sockets, clocks and entropy are the world's.
#include "interpose.hpp"

#include "net.hpp"
#include "scheduler.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <dlfcn.h>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>

namespace tiercache::sim {
namespace {

Network* the_network = nullptr;

Scheduler* in_fiber() noexcept {
  Scheduler* const s = Scheduler::current();
  return s != nullptr && s->running() != nullptr ? s : nullptr;
}

[[noreturn]] void impossible(const char* what) {
  std::fprintf(stderr, "simulation: %s outside of a fiber\n", what);
  std::abort();
}

template <class F>
F real(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

Nanos nanos(const timespec& t) { return Nanos{t.tv_sec} * 1'000 * millis + t.tv_nsec; }
timespec spec(Nanos t) { return {static_cast<std::time_t>(t / (1'000 * millis)), static_cast<long>(t % (1'000 * millis))}; }

constexpr Nanos wall_epoch = Nanos{1'700'000'000} * 1'000 * millis;

Nanos offset_of(const Scheduler& s, clockid_t clock) {
  const Process* const p = s.process();
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) return wall_epoch + (p != nullptr ? p->wall_offset : 0);
  return p != nullptr ? p->clock_offset : 0;
}

Nanos read_clock(const Scheduler& s, clockid_t clock) {
  Nanos t = s.now() + offset_of(s, clock);
  const Process* const p = s.process();
  if (p != nullptr && (clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_REALTIME_COARSE)) t -= t % p->tick;
  return t;
}

/// An instant on one of the fiber's clocks, in virtual time.
Nanos virtual_time(const Scheduler& s, clockid_t clock, const timespec& at) {
  if (at.tv_sec > 4'000'000'000) return never;
  return nanos(at) - offset_of(s, clock);
}

// A mutex's own words tell who holds it: glibc never sees it locked.
struct MutexWords {
  int lock;
  unsigned count;
  int owner;
};
MutexWords& words(pthread_mutex_t* m) { return *reinterpret_cast<MutexWords*>(m); }
bool is_recursive(const pthread_mutex_t* m) { return (m->__data.__kind & 3) == PTHREAD_MUTEX_RECURSIVE; }

bool try_lock(pthread_mutex_t* m, int self) {
  MutexWords& w = words(m);
  if (w.lock != 0 && !(is_recursive(m) && w.owner == self)) return false;
  ++w.lock;
  w.owner = self;
  return true;
}
int self_id() {
  Scheduler* const s = Scheduler::current();
  return s != nullptr ? static_cast<int>(s->fiber_id()) + 1 : 1;
}
void lock(pthread_mutex_t* m) {
  const int self = self_id();
  while (!try_lock(m, self)) {
    Scheduler* const s = in_fiber();
    if (s == nullptr) impossible("a locked mutex");
    s->block(m, never);
  }
}
void unlock(pthread_mutex_t* m) {
  if (--words(m).lock != 0) return;
  words(m).owner = 0;
  if (Scheduler* const s = Scheduler::current()) s->wake(m, 1);
}

int wait(pthread_cond_t* c, pthread_mutex_t* m, Nanos until) {
  Scheduler* const s = in_fiber();
  if (s == nullptr) impossible("a wait for a condition");
  unlock(m);
  const bool woken = s->block(c, until);
  lock(m);
  return woken ? 0 : ETIMEDOUT;
}

long futex(Scheduler& s, const std::uint32_t* word, long op, std::uint32_t value, const timespec* until) {
  switch (op & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: {
      if (__atomic_load_n(word, __ATOMIC_RELAXED) != value) {
        errno = EAGAIN;
        return -1;
      }
      Nanos at = never;
      if (until != nullptr) {
        const bool absolute = (op & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
        at = absolute ? virtual_time(s, CLOCK_MONOTONIC, *until) : s.now() + nanos(*until);
      }
      if (s.block(word, at)) return 0;
      errno = ETIMEDOUT;
      return -1;
    }
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: s.wake(word, value); return 0;
    default: impossible("an unknown futex");
  }
}

}  // namespace

void set_network(Network* network) noexcept { the_network = network; }

}  // namespace tiercache::sim

using namespace tiercache::sim;  // NOLINT(google-build-using-namespace)

// --- clocks ----------------------------------------------------------------------------------------------------------------

std::chrono::steady_clock::time_point std::chrono::steady_clock::now() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return time_point(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

// Whatever the C++ library would read entropy from.
std::random_device::result_type std::random_device::_M_getval() {
  if (Scheduler* const s = Scheduler::current()) return static_cast<result_type>(s->entropy.next());
  return 4;
}

void std::random_device::_M_init(const std::string&) {}
void std::random_device::_M_fini() {}

extern "C" {

int clock_gettime(clockid_t clock, timespec* t) noexcept {
  Scheduler* const s = Scheduler::current();
  if (s == nullptr) return static_cast<int>(syscall(SYS_clock_gettime, clock, t));
  *t = spec(read_clock(*s, clock));
  return 0;
}

int nanosleep(const timespec* how_long, timespec* left) {
  Scheduler* const s = in_fiber();
  if (s == nullptr) return static_cast<int>(syscall(SYS_nanosleep, how_long, left));
  s->sleep_until(s->now() + nanos(*how_long));
  return 0;
}

int clock_nanosleep(clockid_t clock, int flags, const timespec* at, timespec* left) {
  Scheduler* const s = in_fiber();
  if (s == nullptr) return static_cast<int>(syscall(SYS_clock_nanosleep, clock, flags, at, left));
  s->sleep_until((flags & TIMER_ABSTIME) != 0 ? virtual_time(*s, clock, *at) : s->now() + nanos(*at));
  return 0;
}

// --- threads ---------------------------------------------------------------------------------------------------------------

int pthread_create(pthread_t* thread, const pthread_attr_t*, void* (*body)(void*), void* argument) noexcept {
  Scheduler* const s = in_fiber();
  if (s == nullptr) impossible("a thread");
  *thread = s->spawn(*s->process(), "thread", [body, argument] { body(argument); });
  return 0;
}
int pthread_join(pthread_t thread, void**) {
  Scheduler* const s = in_fiber();
  if (s == nullptr) impossible("a join");
  s->join(thread);
  return 0;
}
int pthread_detach(pthread_t) noexcept { return 0; }
pthread_t pthread_self() noexcept {
  Scheduler* const s = Scheduler::current();
  return s != nullptr && s->fiber_id() != 0 ? s->fiber_id() : pthread_t{1} << 40;
}
int pthread_setname_np(pthread_t thread, const char* name) noexcept {
  if (Scheduler* const s = Scheduler::current()) s->name_fiber(thread, name);
  return 0;
}
int pthread_sigmask(int, const sigset_t*, sigset_t*) noexcept { return 0; }

int pthread_mutex_lock(pthread_mutex_t* m) noexcept { return lock(m), 0; }
int pthread_mutex_trylock(pthread_mutex_t* m) noexcept { return try_lock(m, self_id()) ? 0 : EBUSY; }
int pthread_mutex_unlock(pthread_mutex_t* m) noexcept { return unlock(m), 0; }

int pthread_cond_wait(pthread_cond_t* c, pthread_mutex_t* m) { return wait(c, m, never); }
int pthread_cond_timedwait(pthread_cond_t* c, pthread_mutex_t* m, const timespec* at) {
  Scheduler* const s = in_fiber();
  return wait(c, m, s != nullptr ? virtual_time(*s, CLOCK_REALTIME, *at) : 0);
}
int pthread_cond_clockwait(pthread_cond_t* c, pthread_mutex_t* m, clockid_t clock, const timespec* at) {
  Scheduler* const s = in_fiber();
  return wait(c, m, s != nullptr ? virtual_time(*s, clock, *at) : 0);
}
int pthread_cond_signal(pthread_cond_t* c) noexcept {
  if (Scheduler* const s = Scheduler::current()) s->wake(c, 1);
  return 0;
}
int pthread_cond_broadcast(pthread_cond_t* c) noexcept {
  if (Scheduler* const s = Scheduler::current()) s->wake(c, SIZE_MAX);
  return 0;
}
int pthread_cond_destroy(pthread_cond_t*) noexcept { return 0; }

// The kernel's own calls, past the C library. All of ours have up to six arguments of a word.
long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& one : a) one = va_arg(list, long);
  va_end(list);
  if (number == SYS_futex) {
    if (Scheduler* const s = in_fiber())
      return futex(*s, reinterpret_cast<const std::uint32_t*>(a[0]), a[1], static_cast<std::uint32_t>(a[2]),
                   reinterpret_cast<const timespec*>(a[3]));
  }
  // Readers of the world are fibers on this very thread: there is no other one for a barrier to reach.
  if (number == SYS_membarrier && a[0] != 0 && Scheduler::current() != nullptr) return 0;
  long result = 0;
#if defined(__x86_64__)
  register long r10 asm("r10") = a[3];
  register long r8 asm("r8") = a[4];
  register long r9 asm("r9") = a[5];
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a[0];
  register long x1 asm("x1") = a[1];
  register long x2 asm("x2") = a[2];
  register long x3 asm("x3") = a[3];
  register long x4 asm("x4") = a[4];
  register long x5 asm("x5") = a[5];
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  result = x0;
#else
#error "the simulation knows the system calls of x86-64 and of 64-bit ARM"
#endif
  if (result < 0 && result > -4096) {
    errno = static_cast<int>(-result);
    return -1;
  }
  return result;
}

// --- sockets ---------------------------------------------------------------------------------------------------------------

int socket(int domain, int type, int protocol) noexcept {
  if (in_fiber() != nullptr) return the_network->socket();
  return static_cast<int>(syscall(SYS_socket, domain, type, protocol));
}
int connect(int fd, const sockaddr* to, socklen_t size) {
  if (the_network != nullptr && the_network->owns(fd)) return the_network->connect(fd);
  return static_cast<int>(syscall(SYS_connect, fd, to, size));
}
ssize_t send(int fd, const void* bytes, size_t size, int flags) {
  if (the_network != nullptr && the_network->owns(fd)) return the_network->send(fd, static_cast<const char*>(bytes), size);
  return syscall(SYS_sendto, fd, bytes, size, flags, nullptr, 0);
}
ssize_t recv(int fd, void* to, size_t size, int flags) {
  if (the_network != nullptr && the_network->owns(fd)) return the_network->receive(fd, static_cast<char*>(to), size, flags);
  return syscall(SYS_recvfrom, fd, to, size, flags, nullptr, nullptr);
}
int poll(pollfd* fds, nfds_t count, int timeout) {
  if (in_fiber() != nullptr) return the_network->poll(fds, count, timeout);
  return static_cast<int>(syscall(SYS_ppoll, fds, count, nullptr, nullptr, 0));
}
int shutdown(int fd, int how) noexcept {
  if (the_network != nullptr && the_network->owns(fd)) return the_network->shutdown(fd);
  return static_cast<int>(syscall(SYS_shutdown, fd, how));
}
int close(int fd) {
  if (the_network != nullptr && the_network->owns(fd)) return the_network->close(fd);
  return static_cast<int>(syscall(SYS_close, fd));
}
int setsockopt(int fd, int level, int option, const void* value, socklen_t size) noexcept {
  if (the_network != nullptr && the_network->owns(fd)) {
    if (level != SOL_SOCKET || option != SO_RCVTIMEO) return 0;
    const auto& t = *static_cast<const timeval*>(value);
    return the_network->set_receive_timeout(fd, Nanos{t.tv_sec} * 1'000 * millis + t.tv_usec * micros);
  }
  return static_cast<int>(syscall(SYS_setsockopt, fd, level, option, value, size));
}
int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept {
  if (the_network != nullptr && the_network->owns(fd)) {
    *static_cast<int*>(value) = the_network->take_error(fd);
    return 0;
  }
  return static_cast<int>(syscall(SYS_getsockopt, fd, level, option, value, size));
}
int fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  const long argument = va_arg(list, long);
  va_end(list);
  if (the_network != nullptr && the_network->owns(fd))
    return command == F_SETFL ? the_network->set_flags(fd, static_cast<int>(argument)) : the_network->get_flags(fd);
  return static_cast<int>(syscall(SYS_fcntl, fd, command, argument));
}
int eventfd(unsigned start, int flags) noexcept {
  if (in_fiber() != nullptr) return the_network->event();
  return static_cast<int>(syscall(SYS_eventfd2, start, flags));
}
int eventfd_write(int fd, eventfd_t value) {
  if (the_network != nullptr && the_network->owns(fd)) return the_network->signal_event(fd);
  return write(fd, &value, sizeof value) == sizeof value ? 0 : -1;
}

/// Every name is the one address there is; which server it leads to is the link's affair.
int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found) {
  if (in_fiber() == nullptr) return real<decltype(&getaddrinfo)>("getaddrinfo")(host, service, hints, found);
  struct Both {
    addrinfo info;
    sockaddr_in address;
  };
  auto* const both = static_cast<Both*>(std::calloc(1, sizeof(Both)));
  both->info.ai_family = both->address.sin_family = AF_INET;
  both->info.ai_socktype = SOCK_STREAM;
  both->info.ai_addr = reinterpret_cast<sockaddr*>(&both->address);
  both->info.ai_addrlen = sizeof both->address;
  *found = &both->info;
  return 0;
}
void freeaddrinfo(addrinfo* a) noexcept {
  if (in_fiber() == nullptr) return real<decltype(&freeaddrinfo)>("freeaddrinfo")(a);
  std::free(a);
}

}  // extern "C"
