"""What files of sound are: headers, whole files as samples, clips of long ones."""
