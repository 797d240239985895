// SPDX-License-Identifier: Apache-2.0
//
// What a chaos run rests on beside the checker: its pace, the evidence of faults, and that nothing of it is left behind.
#include "surroundings.hpp"
#include "evidence.hpp"
#include "pace.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace tiercache::chaos {
namespace {

constexpr std::int64_t second = 1'000'000'000;

TEST(PaceTest, WritesEvenlyAndMakesUpForTwoSecondsAtMost) {
  Pace pace(10, 0);
  EXPECT_FALSE(pace.due(0));
  EXPECT_TRUE(pace.due(second / 10));
  pace.wrote(32);  // ahead by three seconds
  EXPECT_FALSE(pace.due(3 * second));
  EXPECT_TRUE(pace.due(4 * second));
  EXPECT_TRUE(pace.due(100 * second));
  pace.wrote(20);
  EXPECT_FALSE(pace.due(100 * second));
}

TEST(EvidenceTest, ReadsTheNumbersOfInfo) {
  const std::string info = "# Errorstats\r\nerrorstat_OOM:count=12\r\nevicted_keys:7\r\nname:x\r\n";
  EXPECT_EQ(info_number(info, "errorstat_OOM"), 12U);
  EXPECT_EQ(info_number(info, "evicted_keys"), 7U);
  EXPECT_EQ(info_number(info, "keys"), 0U);
  EXPECT_EQ(info_number(info, "name"), 0U);
  EXPECT_TRUE(above_zero("3"));
  for (const char* no : {"0", "", "OK", "(error) ERR", "3x"}) EXPECT_FALSE(above_zero(no)) << no;
}

TEST(EvidenceTest, TellsAProcessThatRunsFromOneThatIsStoppedAndOneThatIsGone) {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  EXPECT_FALSE(stands_still(child));
  EXPECT_FALSE(is_gone(child));
  kill(child, SIGSTOP);
  ASSERT_EQ(waitpid(child, nullptr, WUNTRACED), child);
  EXPECT_TRUE(stands_still(child));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(is_gone(child));
  EXPECT_FALSE(stands_still(child));
  EXPECT_FALSE(is_gone(0));
}

/// In a process of its own, as run_apart() asks for: what it returned, and the folder that the work saw.
struct Apart {
  int status = -1;
  std::string folder;
};
Apart apart(void (*end)()) {
  std::array<int, 2> link{};
  if (pipe(link.data()) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, nullptr);
    const int status = run_apart([&] {
      const std::string folder = std::filesystem::temp_directory_path().string();
      std::ofstream(folder + "/left") << "behind";
      if (write(link[1], folder.data(), folder.size()) < 0) return 9;
      end();
      return 5;
    });
    _exit(status);
  }
  close(link[1]);
  Apart a;
  std::array<char, 256> text{};
  if (const ssize_t n = read(link[0], text.data(), text.size()); n > 0) a.folder.assign(text.data(), static_cast<std::size_t>(n));
  close(link[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) a.status = WEXITSTATUS(status);
  return a;
}

TEST(SurroundingsTest, NothingIsLeftOfARunThatEnds) {
  const Apart a = apart([] {});
  EXPECT_EQ(a.status, 5);
  EXPECT_NE(a.folder.find("tiercache-chaos-"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(a.folder));
}

TEST(SurroundingsTest, NorOfOneThatDiesOfAnAssertion) {
  const Apart a = apart([] { raise(SIGKILL); });  // as abort(), but without a core file
  EXPECT_EQ(a.status, 2);
  EXPECT_FALSE(a.folder.empty());
  EXPECT_FALSE(std::filesystem::exists(a.folder));
}

TEST(SurroundingsTest, ASignalGoesOnToTheRun) {
  const Apart a = apart([] {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    kill(getppid(), SIGTERM);
    const timespec limit{10, 0};
    if (sigtimedwait(&ends, nullptr, &limit) != SIGTERM) raise(SIGKILL);
  });
  EXPECT_EQ(a.status, 5);
  EXPECT_FALSE(std::filesystem::exists(a.folder));
}

TEST(SurroundingsTest, TheMachineHasALineOfItsOwn) {
  EXPECT_NE(machine_line().find("processors"), std::string::npos);
  EXPECT_EQ(machine_line().find('\n'), std::string::npos);
  EXPECT_EQ(date_line().size(), std::string("2000-01-01 00:00 UTC").size());
}

}  // namespace
}  // namespace tiercache::chaos
