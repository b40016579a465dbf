// Package picture reads the images that strangers upload: JPEG, PNG, GIF and WebP.
// It hides the four formats.
//
// [Read] goes through a file once, unpacks nothing, and returns a copy of what
// shows: camera data, comments, colour profiles, thumbnails and whatever follows
// the end are not in it. What Read returned is read to itself again.
//
// Invariant: a picture is never larger than the bytes it was read from, and its
// frames together are bounded in pixels (FuzzPicture). Tables: none.
package picture
