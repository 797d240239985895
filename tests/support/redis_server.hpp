// SPDX-License-Identifier: Apache-2.0
//
// A private redis-server for tests and the demo. Header-only; the user links hiredis (every l2 build brings it).
#pragma once

#include <hiredis/hiredis.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace tiercache::testing {

struct RedisServerOptions {
  std::vector<std::string> args{};  ///< appended to the command line: {"--maxmemory-policy", "noeviction"}
  std::string password{};           ///< requirepass; empty: none
  std::uint64_t maxmemory = 0;      ///< bytes; 0: unlimited
  std::uint16_t port = 0;           ///< 0: any free one
};

/// One redis-server process on 127.0.0.1 in a temporary folder of its own, without snapshots (save ""). The constructor and
/// every start wait until it answers; they throw std::runtime_error with the server's log when it does not within 10 s.
/// Not thread-safe (one test thread drives it), but it may be destroyed on another thread than it was made on.
///
/// No server outlives a crashed test: the child asks for SIGKILL at its parent's death (PR_SET_PDEATHSIG). The kernel
/// means the death of the THREAD that forked, not of the process; so a thread of this object does the forking and lives as
/// long as the object.
class RedisServer {
 public:
  enum class Data : std::uint8_t {
    empty,  ///< the snapshot file is removed first
    rdb,    ///< loads the snapshot file, if command({"SAVE"}) made one: the older, the more was lost
  };

  explicit RedisServer(RedisServerOptions options = {}) : options_(std::move(options)) {
    std::string pattern = (std::filesystem::temp_directory_path() / "tiercache-redis-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("RedisServer: mkdtemp failed");
    folder_ = pattern;
    forker_ = std::thread([this] { run_forker(); });
    try {
      constexpr int attempts = 8;  // between choosing a free port and binding it somebody else may take it
      for (int i = 1;; ++i) {
        port_ = options_.port != 0 ? options_.port : free_port();
        if (launch()) break;
        if (options_.port != 0 || i == attempts) throw std::runtime_error("RedisServer: did not start:\n" + log());
      }
    } catch (...) {
      finish();
      throw;
    }
  }
  ~RedisServer() { finish(); }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] pid_t pid() const { return pid_; }  ///< -1 while it is down
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] std::string url(int db = 0) const { return url_at(port_, db); }
  /// The same server seen through another port (a proxy's).
  [[nodiscard]] std::string url_at(std::uint16_t port, int db = 0) const {
    return "redis://" + (options_.password.empty() ? "" : ":" + options_.password + "@") + "127.0.0.1:" + std::to_string(port) +
           (db == 0 ? "" : "/" + std::to_string(db));
  }
  /// What the server wrote to its log.
  [[nodiscard]] std::string log() const {
    std::ifstream in(folder_ / "log");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  /// Kills it by SIGKILL and waits until it is gone. Nothing is saved. No effect when it is down.
  void kill9() {
    context_.reset();
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  /// Kills it if it runs and starts it again on the same port; a new run id.
  void restart(Data data = Data::empty) {
    kill9();
    if (data == Data::empty) std::filesystem::remove(folder_ / "dump.rdb");
    constexpr int attempts = 20;  // the old listener's port may need a moment
    for (int i = 1; !launch(); ++i) {
      if (i == attempts) throw std::runtime_error("RedisServer: did not restart:\n" + log());
    }
  }
  /// SIGSTOP: established connections stay open and silent, new ones are accepted by the kernel and never answered.
  void pause() { signal_and_wait(SIGSTOP, WUNTRACED); }
  void resume() { signal_and_wait(SIGCONT, WCONTINUED); }

  /// Runs one command over a connection of its own, in database 0, and prints the reply: text as it is, integers in decimal,
  /// "(nil)", "(error) ...", array elements one a line. Throws when there is no answer within 10 s.
  std::string command(const std::vector<std::string>& argv) {
    for (int attempt = 0; attempt < 2; ++attempt) {  // the second one on a fresh connection: the server may have dropped ours
      if (!context_ && !connect_own()) break;
      if (const Reply reply = send(argv)) return print(*reply);
      context_.reset();
    }
    throw std::runtime_error("RedisServer: no answer to a command");
  }

  /// A port that was free a moment ago.
  static std::uint16_t free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const bool ok = fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    if (fd >= 0) close(fd);
    if (!ok) throw std::runtime_error("RedisServer: no free port");
    return ntohs(address.sin_port);
  }

 private:
  struct FreeContext {
    void operator()(redisContext* c) const { redisFree(c); }
  };
  struct FreeReply {
    void operator()(redisReply* r) const { freeReplyObject(r); }
  };
  using Reply = std::unique_ptr<redisReply, FreeReply>;

  static std::string print(const redisReply& r) {
    switch (r.type) {
      case REDIS_REPLY_INTEGER: return std::to_string(r.integer);
      case REDIS_REPLY_NIL: return "(nil)";
      case REDIS_REPLY_ERROR: return "(error) " + std::string(r.str, r.len);
      case REDIS_REPLY_ARRAY: {
        std::string all;
        for (std::size_t i = 0; i < r.elements; ++i) all += (i == 0 ? "" : "\n") + print(*r.element[i]);
        return all;
      }
      default: return {r.str, r.len};
    }
  }

  Reply send(const std::vector<std::string>& argv) {
    std::vector<const char*> parts;
    std::vector<std::size_t> sizes;
    for (const std::string& a : argv) {
      parts.push_back(a.data());
      sizes.push_back(a.size());
    }
    return Reply(
        static_cast<redisReply*>(redisCommandArgv(context_.get(), static_cast<int>(argv.size()), parts.data(), sizes.data())));
  }

  bool connect_own() {
    context_.reset(redisConnectWithTimeout("127.0.0.1", port_, timeval{1, 0}));
    if (!context_ || context_->err != 0 || redisSetTimeout(context_.get(), timeval{10, 0}) != REDIS_OK)
      return context_.reset(), false;
    fcntl(context_->fd, F_SETFD, FD_CLOEXEC);
    if (!options_.password.empty() && !send({"AUTH", options_.password})) return context_.reset(), false;
    return true;
  }

  bool launch() {
    std::vector<std::string> words = {
        "redis-server", "--port", std::to_string(port_), "--bind", "127.0.0.1", "--dir", folder_.string(),
        "--save",       "",       "--daemonize",         "no"};
    if (options_.maxmemory != 0) words.insert(words.end(), {"--maxmemory", std::to_string(options_.maxmemory)});
    if (!options_.password.empty()) words.insert(words.end(), {"--requirepass", options_.password});
    words.insert(words.end(), options_.args.begin(), options_.args.end());
    std::vector<char*> argv;  // built before the fork: afterwards only async-signal-safe calls are allowed
    for (std::string& w : words) argv.push_back(w.data());
    argv.push_back(nullptr);
    const std::string log_path = (folder_ / "log").string();
    on_forker([&] { pid_ = fork_server(argv, log_path.c_str()); });
    if (pid_ < 0) throw std::runtime_error("RedisServer: fork failed");
    return wait_until_it_answers();
  }

  static pid_t fork_server(std::vector<char*>& argv, const char* log_path) {
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);  // the parent died before prctl took effect
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
    const int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    close_range(3, ~0U, 0);  // an inherited socket would stay open after its owner closed it
    execvp(argv[0], argv.data());
    _exit(127);
  }

  bool wait_until_it_answers() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (std::chrono::steady_clock::now() < end) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) return pid_ = -1, false;  // it ended: the port was taken, a bad argument
      if (connect_own()) {
        const Reply reply = send({"PING"});
        if (reply && reply->type == REDIS_REPLY_STATUS) return true;  // an error means LOADING
        context_.reset();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return kill9(), false;
  }

  void signal_and_wait(int signal, int state) {
    if (pid_ <= 0) return;
    kill(pid_, signal);
    while (waitpid(pid_, nullptr, state) < 0 && errno == EINTR) {  // until every thread of it stopped or goes on
    }
  }

  void on_forker(std::function<void()> job) {
    std::unique_lock lock(mutex_);
    job_ = std::move(job);
    wake_.notify_all();
    wake_.wait(lock, [this] { return !job_; });
  }
  void run_forker() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return job_ || ending_; });
      if (!job_) return;
      job_();
      job_ = nullptr;
      wake_.notify_all();
    }
  }
  void finish() {
    kill9();
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      wake_.notify_all();
    }
    forker_.join();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  RedisServerOptions options_;
  std::filesystem::path folder_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
  std::unique_ptr<redisContext, FreeContext> context_;
  std::thread forker_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<void()> job_;  // guarded by mutex_, as is ending_
  bool ending_ = false;
};

}  // namespace tiercache::testing
