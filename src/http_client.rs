//! One bounded request.
