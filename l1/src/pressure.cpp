// SPDX-License-Identifier: Apache-2.0
#include <tiercache/l1/pressure.hpp>

#include <tiercache/base/thread.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>

namespace tiercache::l1 {

namespace {

constexpr std::size_t file_bytes_max = 64 << 10;
constexpr unsigned levels_max = 64;

/// Empty when there is none.
std::string read_file(const std::string& path) {
  std::string content;
  std::ifstream file(path, std::ios::binary);
  char buffer[4096];
  while (file && content.size() < file_bytes_max) {
    file.read(buffer, sizeof buffer);
    content.append(buffer, static_cast<std::size_t>(file.gcount()));
  }
  return content;
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error != std::errc{} || rest.find_first_not_of(" \r\n") != std::string_view::npos) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> number_in(const std::string& path) { return number(read_file(path)); }

/// The value of a line "name value".
std::optional<std::uint64_t> field_in(const std::string& path, std::string_view name) {
  const std::string content = read_file(path);
  for (std::string_view text = content; !text.empty();) {
    const std::string_view line = take_line(text);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ' ') {
      return number(line.substr(name.size() + 1));
    }
  }
  return std::nullopt;
}

/// "some avg10=0.12 avg60=...".
std::optional<double> psi_in(const std::string& path) {
  constexpr std::string_view wanted = "some avg10=";
  const std::string content = read_file(path);
  for (std::string_view text = content; !text.empty();) {
    const std::string_view line = take_line(text);
    if (!line.starts_with(wanted)) continue;
    double percent = 0;
    const std::string_view rest = line.substr(wanted.size());
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), percent);
    if (error != std::errc{} || !(percent >= 0 && percent <= 100)) return std::nullopt;
    return percent;
  }
  return std::nullopt;
}

/// The v2 cgroup of this process, "" being the root; nothing on machines without cgroup v2.
std::optional<std::string> own_cgroup(const std::string& proc_root) {
  const std::string content = read_file(proc_root + "/self/cgroup");
  for (std::string_view text = content; !text.empty();) {
    std::string_view line = take_line(text);
    if (!line.starts_with("0::/")) continue;
    line.remove_prefix(3);
    // Outside this process's cgroup namespace: none of the files here is about it, save the root's.
    if (line.find("/..") != std::string_view::npos) return std::string();
    while (line.ends_with('/')) line.remove_suffix(1);
    return std::string(line);
  }
  return std::nullopt;
}

std::uint64_t share_of(std::uint64_t bytes, double share) {
  return static_cast<std::uint64_t>(static_cast<double>(bytes) * share);
}

/// What the reading lacks of its headroom; negative: what it has beyond it.
double lacking(std::uint64_t limit, std::uint64_t used, double headroom) {
  return static_cast<double>(used) - static_cast<double>(limit) * (1 - headroom);
}

Error refused(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

}  // namespace

Result<void> PressureOptions::validate() const {
  // Written so that NaN is refused.
  if (!(headroom > 0 && headroom <= 0.5)) return refused("pressure.headroom: must be above 0 and at most 0.5");
  if (!(psi_some_avg10_max > 0 && psi_some_avg10_max <= 100)) {
    return refused("pressure.psi_some_avg10_max: must be above 0 and at most 100");
  }
  if (!(floor > 0 && floor <= 1)) return refused("pressure.floor: must be above 0 and at most 1");
  if (!(shrink_step > 0 && shrink_step <= 1)) return refused("pressure.shrink_step: must be above 0 and at most 1");
  if (!(grow_step > 0 && grow_step <= shrink_step)) return refused("pressure.grow_step: must be above 0 and at most shrink_step");
  if (period < std::chrono::milliseconds(10)) return refused("pressure.period: must be at least 10 ms");
  return {};
}

MemoryReading read_memory(const PressureOptions& options) {
  MemoryReading reading;
  if (std::optional<std::string> path = own_cgroup(options.proc_root)) {
    reading.psi_some_avg10 = psi_in(options.cgroup_root + *path + "/memory.pressure");
    double worst = -HUGE_VAL;
    // A limit anywhere above binds too. In a container whose own cgroup is mounted as the root, the inner folders are missing.
    for (unsigned level = 0; level < levels_max; ++level) {
      const std::string folder = options.cgroup_root + *path;
      const auto current = number_in(folder + "/memory.current");
      const auto max = number_in(folder + "/memory.max");  // "max" is no number: no limit
      const auto high = number_in(folder + "/memory.high");
      if (current && (max || high)) {
        const std::uint64_t limit = std::min(max.value_or(~std::uint64_t{0}), high.value_or(~std::uint64_t{0}));
        const std::uint64_t cache = field_in(folder + "/memory.stat", "inactive_file").value_or(0);
        const std::uint64_t used = *current - std::min(*current, cache);
        const double lack = lacking(limit, used, options.headroom);
        if (limit != 0 && lack > worst) {
          worst = lack;
          reading.limit_bytes = limit;
          reading.used_bytes = used;
        }
      }
      if (path->empty()) break;
      path->erase(path->rfind('/'));
    }
  }
  if (!reading.psi_some_avg10) reading.psi_some_avg10 = psi_in(options.proc_root + "/pressure/memory");
  return reading;
}

std::uint64_t advise(std::uint64_t now, std::uint64_t configured, const MemoryReading& reading, const PressureOptions& options) {
  const std::uint64_t floor = std::min(configured, std::max<std::uint64_t>(share_of(configured, options.floor), 1));
  now = std::clamp(now, floor, configured);
  const double psi = reading.psi_some_avg10.value_or(0);
  const bool limited = reading.limit_bytes != 0;
  const double lack = limited ? lacking(reading.limit_bytes, reading.used_bytes, options.headroom) : -HUGE_VAL;

  if (lack > 0 || psi > options.psi_some_avg10_max) {
    const auto step = static_cast<double>(std::max<std::uint64_t>(share_of(configured, options.shrink_step), 1));
    const double cut = std::max(step, lack);
    if (cut >= static_cast<double>(now - floor)) return floor;
    return now - static_cast<std::uint64_t>(cut);
  }
  const std::uint64_t step = std::max<std::uint64_t>(share_of(configured, options.grow_step), 1);
  const double spare = limited ? static_cast<double>(reading.limit_bytes) * options.headroom / 2 : 0;
  if (-lack < static_cast<double>(step) + spare || psi > options.psi_some_avg10_max / 2) return now;
  return now + std::min(step, configured - now);
}

PressureGuard::PressureGuard(PressureOptions options, std::uint64_t configured, Apply apply)
    : options_(std::move(options)), configured_(configured), apply_(std::move(apply)), capacity_(configured) {}

PressureGuard::~PressureGuard() { stop(); }

Result<void> PressureGuard::start() {
  const std::lock_guard lock(thread_mutex_);
  if (!options_.enabled || stopping_ || thread_.joinable()) return {};
  try {
    thread_ = start_thread("tc-mem", [this] { run(); });
  } catch (const std::system_error& e) {
    return Error{Errc::unavailable, std::string("pressure: no thread: ") + e.what()};
  }
  return {};
}

void PressureGuard::stop() noexcept {
  const std::lock_guard stop_lock(stop_mutex_);
  std::thread thread;
  {
    const std::lock_guard lock(thread_mutex_);
    stopping_ = true;
    thread.swap(thread_);
  }
  wake_.notify_all();
  if (thread.joinable()) thread.join();
}

void PressureGuard::tick() noexcept {
  const std::lock_guard lock(look_mutex_);
  try {
    const std::uint64_t advised = advise(capacity_, configured_, read_memory(options_), options_);
    if (advised == capacity_) return;
    apply_(advised);
    capacity_ = advised;
  } catch (...) {  // no memory to read with, or `apply` failed: the next look tries again
  }
}

std::uint64_t PressureGuard::capacity() const {
  const std::lock_guard lock(look_mutex_);
  return capacity_;
}

void PressureGuard::run() noexcept {
  std::unique_lock lock(thread_mutex_);
  while (!stopping_) {
    lock.unlock();
    tick();
    lock.lock();
    wake_.wait_for(lock, options_.period, [this] { return stopping_; });
  }
}

}  // namespace tiercache::l1
