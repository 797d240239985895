# Debian's cpp-httplib is a compiled shared library without a CMake config. Defines httplib::httplib.
#
# The library was compiled with TLS and compression, and some of its classes change their layout with those switches: every
# user has to define the same ones. They are taken from its pkg-config file; without one, Debian's are assumed.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_CPP_HTTPLIB QUIET cpp-httplib)
endif()
find_path(cpp-httplib_INCLUDE_DIR httplib.h HINTS ${PC_CPP_HTTPLIB_INCLUDE_DIRS})
find_library(cpp-httplib_LIBRARY cpp-httplib HINTS ${PC_CPP_HTTPLIB_LIBRARY_DIRS})
mark_as_advanced(cpp-httplib_INCLUDE_DIR cpp-httplib_LIBRARY)
if(cpp-httplib_INCLUDE_DIR AND EXISTS "${cpp-httplib_INCLUDE_DIR}/httplib.h")
  file(STRINGS "${cpp-httplib_INCLUDE_DIR}/httplib.h" line REGEX "#define CPPHTTPLIB_VERSION \"")
  string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" cpp-httplib_VERSION "${line}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cpp-httplib REQUIRED_VARS cpp-httplib_LIBRARY cpp-httplib_INCLUDE_DIR
  VERSION_VAR cpp-httplib_VERSION)
if(cpp-httplib_FOUND AND NOT TARGET httplib::httplib)
  set(definitions "")
  foreach(flag ${PC_CPP_HTTPLIB_CFLAGS_OTHER})
    if(flag MATCHES "^-D(.+)$")
      list(APPEND definitions "${CMAKE_MATCH_1}")
    endif()
  endforeach()
  if(NOT PC_CPP_HTTPLIB_FOUND)
    set(definitions CPPHTTPLIB_OPENSSL_SUPPORT CPPHTTPLIB_ZLIB_SUPPORT CPPHTTPLIB_BROTLI_SUPPORT)
  endif()
  add_library(httplib::httplib UNKNOWN IMPORTED)
  set_target_properties(httplib::httplib PROPERTIES
    IMPORTED_LOCATION "${cpp-httplib_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${cpp-httplib_INCLUDE_DIR}"
    INTERFACE_COMPILE_DEFINITIONS "${definitions}")
endif()
