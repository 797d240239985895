// SPDX-License-Identifier: Apache-2.0
//
// What feeding the profile does not do: allocate, and enter the kernel. An executable of its own, as hit_test.
#include "fixture.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/l1/profile.hpp>

#include <hot_path.hpp>

namespace tiercache::l1::test {
namespace {

using tiercache::testing::allocations;
using tiercache::testing::forbid_system_calls;
using tiercache::testing::in_child;

/// Everything sampled, so that all paths run: full rings, rebuilds, halving.
ProfileOptions busy() {
  ProfileOptions o;
  o.capacity_bytes = 4 << 20;
  o.memory_max_bytes = 1 << 20;
  o.rate_max = 1;
  o.hit_interval = 1;
  return o;
}

[[gnu::noinline]] void feed(Profile& profile, std::uint64_t n) {
  char key[8] = "user:xx";
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::uint64_t hash = mix64((i * i) % 100'003);
    key[5] = static_cast<char>('a' + hash % 16);
    profile.found(0, {key, 7}, hash, 100 + hash % 100);
    if (i % 3 == 0) profile.missed(mix64(i));
    if (i % 5 == 0) profile.stored(mix64(i), 200);
    if (i % 7 == 0) profile.removed(hash);
  }
  profile.drain();
}

TEST(ProfileFeed, AllocatesNothing) {
  Profile profile;
  const std::uint64_t before = allocations;
  ASSERT_TRUE(profile.create(busy()));
  ASSERT_TRUE(profile.enabled());
  EXPECT_GT(allocations, before) << "the counter counts";
  const std::uint64_t created = allocations;
  feed(profile, 2'000'000);
  EXPECT_EQ(allocations, created);
  EXPECT_GT(profile.stats().samples, 2'000'000U);
}

TEST(ProfileFeed, MakesNoSystemCall) {
  const int status = in_child([] {
    Profile profile;
    if (!profile.create(busy())) _exit(97);
    forbid_system_calls();
    feed(profile, 500'000);
    syscall(SYS_exit_group, 0);
  });
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace tiercache::l1::test
