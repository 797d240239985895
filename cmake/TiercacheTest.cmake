# tiercache_test(NAME SOURCES ... [LIBS ...] [LABELS ...] [TIMEOUT seconds])
# One GoogleTest executable; its cases become CTest tests named NAME.Suite.Case. Link the lab builds (tiercache::l1_lab ...).
#
# With TIERCACHE_UNITY_TESTS several sources of one executable are compiled as one: a name that is local to a file must be the only
# one of its kind in the executable.
#
# Labels in use: stress (long; left out of `./run test`), concurrency (several threads; what runs under ThreadSanitizer),
# redis (starts real redis-server processes), packaging (installs, and builds projects against the install),
# model (threads of a checker of the memory model).
include(GoogleTest)
find_package(GTest REQUIRED)
if(NOT TARGET tiercache_tests)
  add_custom_target(tiercache_tests)  # every test executable
endif()

function(tiercache_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  if(TIERCACHE_UNITY_TESTS)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 5)
  endif()
  add_dependencies(tiercache_tests ${name})
  tiercache_warnings(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} tiercache_testkit GTest::gtest GTest::gmock GTest::gtest_main)
  # PRE_TEST: the cases are listed when ctest starts, not while the build runs.
  gtest_discover_tests(${name} TEST_PREFIX "${name}." TEST_LIST ${name}_cases DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  # gtest_discover_tests keeps only the first of several labels, so they are set afterwards.
  if(ARG_LABELS)
    set(file "${CMAKE_CURRENT_BINARY_DIR}/${name}_labels.cmake")
    file(CONFIGURE OUTPUT "${file}" @ONLY CONTENT [[
if(@name@_cases)
  set_tests_properties(${@name@_cases} PROPERTIES LABELS "@ARG_LABELS@")
endif()
]])
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${file}")
  endif()
endfunction()
