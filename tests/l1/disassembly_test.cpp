// SPDX-License-Identifier: Apache-2.0
//
// For disassembly_test.sh: steps through one call of a function below, built against the library that ships, and prints where in
// this executable each instruction lay that was executed. What calling a function that does nothing executes is left out, and so
// the rest is the function's own, with all it calls.
#include "stepper.hpp"

#include <tiercache/l1/footprint.hpp>
#include <tiercache/l1/table.hpp>

#include <cstring>
#include <mutex>
#include <string_view>

namespace tiercache::l1::test {

struct Traced {
  Table& table;
  ViewId view;
  std::string_view key;
  std::uint64_t result = 0;
};

// extern "C": names to find in a disassembly.
extern "C" {
[[gnu::noinline]] void traced_nothing(Traced* t) { asm volatile("" ::"r"(t) : "memory"); }
[[gnu::noinline]] void traced_find(Traced* t) {
  if (const Pin pin = t->table.find(t->view, t->key, t->table.hash(t->view, t->key), 0, 1)) {
    t->result += *static_cast<const std::uint64_t*>(pin.value());
  }
}
[[gnu::noinline]] void traced_visit(Traced* t) {
  t->table.visit(t->view, t->key, t->table.hash(t->view, t->key), 0, 1,
                 [t](const void* value, const Entry&) { t->result += *static_cast<const std::uint64_t*>(value); });
}
// The counter-examples.
[[gnu::noinline]] void traced_mutex(Traced* t) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  ++t->result;
}
[[gnu::noinline]] void traced_fence(Traced* t) {
  asm volatile("mfence" ::: "memory");
  ++t->result;
}
[[gnu::noinline]] void traced_atomic(Traced* t) {
  static std::atomic<std::uint64_t> count{0};
  count.fetch_add(1);
  ++t->result;
}
[[gnu::noinline]] void traced_allocation(Traced* t) {
  auto* volatile made = new std::uint64_t(1);
  t->result += *made;
  delete made;
}
}

namespace {

using Function = void (*)(Traced*);

Function by_name(const char* name) {
  const std::pair<const char*, Function> all[] = {{"find", traced_find},     {"visit", traced_visit},
                                                  {"mutex", traced_mutex},   {"fence", traced_fence},
                                                  {"atomic", traced_atomic}, {"allocation", traced_allocation}};
  for (const auto& [known, function] : all) {
    if (std::strcmp(name, known) == 0) return function;
  }
  return nullptr;
}

int trace(const char* name, bool present) {
  const Function function = by_name(name);
  auto made = Table::create(Options{.capacity_bytes = 1 << 20});
  if (!made || function == nullptr) return 2;
  Table& table = **made;
  const ViewId view = *table.add_view(type_ops<std::uint64_t>());
  std::uint64_t value = 42;
  const std::string_view key = "user:123456";
  if (present) table.put(view, key, table.hash(view, key), &value, {});

  Stepper stepper;
  Traced traced{table, view, key};
  Coverage none, own;
  Plan plan;
  Function volatile called = traced_nothing;
  const std::function<void()> call = [&] { called(&traced); };
  const auto run = [&](Function which, Coverage* coverage) {
    called = which;
    plan.coverage = coverage;
    static_cast<void>(stepper.start(plan, call));
  };
  // Twice before: records, lazily bound symbols and the entry's use counter are then as in the steady state.
  for (int i = 0; i < 4; ++i) run(function, &none);
  none.executed.assign(none.executed.size(), 0);
  run(traced_nothing, &none);
  const std::uint64_t before = traced.result;
  run(function, &own);
  std::printf("result %llu\n", static_cast<unsigned long long>(traced.result - before));
  std::printf("outside %llu\n", static_cast<unsigned long long>(stepper.outside()));
  for (std::size_t at = 0; at < own.executed.size(); ++at) {
    if (own.executed[at] != 0 && none.executed[at] == 0) std::printf("%zx\n", at);
  }
  return 0;
}

}  // namespace
}  // namespace tiercache::l1::test

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  return tiercache::l1::test::trace(argv[1], std::strcmp(argv[2], "present") == 0);
}
